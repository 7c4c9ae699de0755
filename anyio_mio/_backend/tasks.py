"""AnyIO's task group, based on the kernel's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any, TypeVar

import anyio
import anyio.abc
from anyio import TaskHandle

from anyio_mio._backend.anyio_internals import (
    HANDLES_NAME_THEMSELVES,
    CancelScope,
    call_for_coroutine,
    get_callable_name,
    new_handle,
    new_task,
    set_start_value,
)
from anyio_mio._kernel import task_group
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.starting import Starting
from anyio_mio._kernel.stepper import Stepper

T = TypeVar("T")


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
            TypeError: it is not a coroutine.
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
        handle = new_handle(coro, coroutine_name(coro) if name is None else str(name))
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
            Exception: the error that the task raised before ``started()``.

        Checkpoint: always. Cancellation: the task is cancelled and waited for.
        """
        if not self.active:
            raise RuntimeError(task_group.NOT_ACTIVE)
        starting = Starting(self)
        coro = call_for_coroutine(func, args, task_status=starting)
        handle = new_handle(coro, get_callable_name(func, name))
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
        set_start_value(handle, starting.value)
        return handle

    def _require_own_thread(self, kernel: Stepper, coro: Coroutine[Any, Any, Any]) -> None:
        try:
            kernel.require_own_thread()
        except RuntimeError:
            coro.close()
            raise

    def _start(self, handle: TaskHandle[Any], context: Context | None) -> None:
        host = self.host
        assert host is not None
        host.kernel.start(new_task(handle, context, self, self.cancel_scope, host))


def coroutine_name(coro: Coroutine[Any, Any, Any]) -> str:
    """Return the module and qualified name of a coroutine, as far as it has them."""
    if HANDLES_NAME_THEMSELVES:
        return None  # type: ignore[return-value]
    frame = getattr(coro, "cr_frame", None)
    module = frame.f_globals.get("__name__") if frame is not None else None
    qualname = getattr(coro, "__qualname__", None)
    return ".".join(part for part in (module, qualname) if part)
