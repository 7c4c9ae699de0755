"""AnyIO's cancel scope, task group and task information on the kernel's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any, Final, TypeVar
from weakref import ref

import anyio
import anyio.abc
from anyio import TaskHandle
from anyio.abc import _tasks
from anyio.abc._tasks import call_for_coroutine, get_callable_name

from anyio_mio._backend.handles import new_task
from anyio_mio._kernel import cancel_scope, task_group
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.running import running_kernel
from anyio_mio._kernel.starting import Starting
from anyio_mio._kernel.task import Task

T = TypeVar("T")

HANDLES_NAME_THEMSELVES: Final = not hasattr(_tasks, "get_coro_name")
"""AnyIO 4.14 names an unnamed task by its handle, and without the module."""


# AnyIO's class has no slot but __weakref__, so the layouts do fit together.
class CancelScope(cancel_scope.CancelScope, anyio.CancelScope):  # type: ignore[misc]
    """The kernel's cancel scope, known to AnyIO."""

    __slots__ = ()


class TaskGroup(task_group.TaskGroup, anyio.abc.TaskGroup):
    """The kernel's task group; each of its tasks has an AnyIO task handle."""

    scope_type = CancelScope
    cancel_scope: CancelScope

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> TaskHandle[T]:
        """Start a task from a coroutine.

        Raises:
            TypeError: it is no coroutine.
            RuntimeError: the group is not active; the coroutine is closed then.
        """
        # The first test is what all but asend() objects pass; the ABC's costs 110 ns more.
        if type(coro) is not CoroutineType and not isinstance(coro, Coroutine):
            raise TypeError(f"expected a coroutine, got {type(coro).__qualname__}")
        host = self.host
        if not self.active or host is None:
            coro.close()
            raise RuntimeError(task_group.NOT_ACTIVE)
        if host.kernel.current is None:
            self._require_own_thread(host.kernel, coro)
        handle = TaskHandle(coro, coroutine_name(coro) if name is None else str(name))
        self._start(handle, context)
        return handle

    async def start(
        self,
        func: Callable[..., Coroutine[Any, Any, Any]],
        *args: object,
        name: object = None,
        return_handle: bool = False,
    ) -> Any:
        """Start a task and wait until it calls ``task_status.started()``.

        Raises:
            RuntimeError: the group is not active, or the task ended without ``started()``.
            Exception: whatever the task raised before ``started()``, as it is.

        Checkpoint: always. Cancellation: the task is cancelled and waited for.
        """
        if not self.active:
            raise RuntimeError(task_group.NOT_ACTIVE)
        starting = Starting(self)
        coro = call_for_coroutine(func, args, task_status=starting)
        handle = TaskHandle(coro, get_callable_name(func, name))
        if starting.is_started:
            self._start(handle, None)
        else:
            caller = running_kernel().current
            assert caller is not None
            try:
                await starting.run(new_task(handle, None, starting, caller.scope, caller))
            except BaseException:
                del handle, coro  # they keep the error, whose traceback keeps this frame
                raise
            finally:
                del caller
        if not return_handle:
            return starting.value
        handle._start_value = starting.value  # type: ignore[assignment]
        return handle

    def _require_own_thread(self, kernel: Kernel, coro: Coroutine[Any, Any, Any]) -> None:
        try:
            kernel.require_own_thread()
        except RuntimeError:
            coro.close()
            raise

    def _start(self, handle: TaskHandle[Any], context: Context | None) -> None:
        host = self.host
        assert host is not None
        host.kernel.start(new_task(handle, context, self, self.cancel_scope, host))


class MioTaskInfo(anyio.TaskInfo):
    """What AnyIO tells about a task."""

    __slots__ = ("_task",)

    def __init__(self, task: Task) -> None:
        host = task.host
        parent_id = id(host) if host is not None else None
        super().__init__(id(task), parent_id, task.name, task.coro)
        self._task = ref(task)

    def has_pending_cancellation(self) -> bool:
        """Whether the task's next checkpoint raises the cancellation; looked up now."""
        task = self._task()
        return task is not None and not task.done and task.scope.effective


def task_info(task: Task) -> MioTaskInfo:
    """The task's information, made once; `Starting` drops it when the task gets a new host."""
    info = task.info
    if info is None:
        info = task.info = MioTaskInfo(task)
    return info  # type: ignore[return-value]


def current_task_info(kernel: Kernel) -> MioTaskInfo:
    """The information about the task that runs now.

    Raises:
        RuntimeError: a callback runs, and no task.
    """
    task = kernel.current
    if task is None:
        raise RuntimeError("There is no task currently running")
    return task_info(task)


def coroutine_name(coro: Coroutine[Any, Any, Any]) -> str:
    """Module and qualified name of a coroutine, as far as it has them."""
    if HANDLES_NAME_THEMSELVES:
        return None  # type: ignore[return-value]
    frame = getattr(coro, "cr_frame", None)
    module = frame.f_globals.get("__name__") if frame is not None else None
    qualname = getattr(coro, "__qualname__", None)
    return ".".join(part for part in (module, qualname) if part)
