"""Describe asyncio's tasks for the task tree, and the waits for asyncio of all tasks.

Facts. An asyncio task that waits refers to the future that it awaits. A plain future does not say
what will set it. The function that awaits it does, such as ``asyncio.Queue.get()``, and the
variables of the function do, such as the children of a ``TaskGroup``.

Decision. `describe_future()` looks at the future first, then at the innermost frames. It is used
for tasks of asyncio and of mio, so it finds circles of waits that go through both.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Literal, final
from weakref import WeakKeyDictionary

from anyio_mio._kernel.task_tree import StackFrame, TaskState, frames_of, running_stack, stack_frame
from anyio_mio._reactor.scheduler import Wait
from anyio_mio.asyncio.asyncio_internals import awaited_future, callbacks_of, children_of_gather

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel

INNERMOST: Final = 4
"""How many of the innermost frames are searched for a function of asyncio."""

KNOWN_WAITS: Final = {
    "Lock.acquire": ("asyncio/locks.py", "a lock of asyncio"),
    "Event.wait": ("asyncio/locks.py", "an event of asyncio to be set"),
    "Condition.wait": ("asyncio/locks.py", "the notification of a condition of asyncio"),
    "Semaphore.acquire": ("asyncio/locks.py", "a semaphore of asyncio"),
    "Barrier._wait": ("asyncio/locks.py", "the other tasks at a barrier of asyncio"),
    "Queue.get": ("asyncio/queues.py", "an item of a queue of asyncio"),
    "Queue.put": ("asyncio/queues.py", "room in a queue of asyncio"),
    "Queue.join": ("asyncio/queues.py", "the items of a queue of asyncio to be done"),
    "sleep": ("asyncio/tasks.py", "asyncio.sleep()"),
    "StreamReader._wait_for_data": ("asyncio/streams.py", "data of a stream of asyncio"),
    "FlowControlMixin._drain_helper": ("asyncio/streams.py", "room in a stream of asyncio"),
    "Server.serve_forever": ("asyncio/base_events.py", "a server of asyncio to be closed"),
    "Server.wait_closed": ("asyncio/base_events.py", "the connections of a server of asyncio"),
    "BaseSubprocessTransport._wait": ("asyncio/base_subprocess.py", "the end of a process"),
    "BaseSelectorEventLoop.sock_recv": ("asyncio/selector_events.py", "sock_recv() of asyncio"),
    "BaseSelectorEventLoop.sock_recv_into": (
        "asyncio/selector_events.py",
        "sock_recv_into() of asyncio",
    ),
    "BaseSelectorEventLoop.sock_sendall": (
        "asyncio/selector_events.py",
        "sock_sendall() of asyncio",
    ),
    "BaseSelectorEventLoop.sock_accept": ("asyncio/selector_events.py", "sock_accept() of asyncio"),
    "BaseSelectorEventLoop.sock_connect": (
        "asyncio/selector_events.py",
        "sock_connect() of asyncio",
    ),
}
"""Functions of asyncio that await a plain future: the file, and the wait in words."""

GROUPS: Final = {
    "TaskGroup.__aexit__": ("asyncio/taskgroups.py", "self"),
    "TaskGroup._aexit": ("asyncio/taskgroups.py", "self"),
    "_wait": ("asyncio/tasks.py", "fs"),
    "wait_for": ("asyncio/tasks.py", "fut"),
}
"""Functions of asyncio that wait for tasks by a plain future: the file, and the variable that holds
the tasks or their group."""

NAME_PARTS: Final = re.compile("([^0-9]*)([0-9]{0,15})")
"""Some text, and the number that follows it."""

NOT_OF_THE_TASK: Final = tuple(
    f"anyio_mio/asyncio/{name}.py" for name in ("callbacks", "loop", "task_states")
)
"""Files whose frames are around the step of a task, or belong to the task tree."""


@final
class TaskOrder:
    """Sorts asyncio's tasks by the order in which they were made, as far as it is known.

    asyncio keeps its tasks in a set, and numbers those that get no name. To record each task when
    it is made would cost every program. So tasks that were sorted before come first, in the same
    order. They are followed by new tasks without a name, by number, and new tasks with one, by
    name.
    """

    def __init__(self) -> None:
        self._numbers: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._last = 0

    def sort(self, tasks: Iterable[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
        """Return the tasks in order."""
        tasks, numbers = list(tasks), self._numbers
        for task in sorted((t for t in tasks if t not in numbers), key=order_of_name):
            self._last = numbers[task] = self._last + 1
        return sorted(tasks, key=numbers.__getitem__)


def order_of_name(task: asyncio.Task[Any]) -> tuple[bool, list[tuple[str, int]]]:
    """Return the key for sorting tasks: names that asyncio gave come first, in numeric order."""
    name = task.get_name()
    parts = [(text, int(number or 0)) for text, number in NAME_PARTS.findall(name)]
    return not name.startswith("Task-"), parts


def describe_task(
    kernel: Kernel, task: asyncio.Task[Any], until: float, current: object
) -> TaskState:
    """Describe an asyncio task. ``until`` is its time limit, ``current`` the running task."""
    future = awaited_future(task)
    state: Literal["running", "runnable", "parked"] = "parked" if future else "runnable"
    stack: tuple[StackFrame, ...]
    if task is current:
        state = "running"
        stack = tuple(without_callbacks(running_stack(kernel)))
        wait = NO_WAIT
    else:
        frames = list(frames_of(task.get_coro()))
        stack = tuple(map(stack_frame, frames))
        wait = NO_WAIT if future is None else describe_future(future, frames)
    return TaskState(
        id=id(task),
        parent=None,
        name=task.get_name(),
        kind="asyncio",
        state=state,
        waits_for=wait.words,
        waits_for_tasks=tuple(id(each) for each in wait.tasks),
        needs_a_task=wait.needs_a_task,
        is_cancelled=cancels(task),
        time_limit=until - kernel.now(),
        stack=stack,
    )


NO_WAIT: Final = Wait("")


def cancels(task: asyncio.Task[Any]) -> bool:
    """Return whether an asyncio task has a request to cancel."""
    return task.cancelling() > 0


def without_callbacks(stack: Iterable[StackFrame]) -> Iterator[StackFrame]:
    """Yield the frames of a running task without the frames of the loop around them."""
    for frame in stack:
        if not ends_with(frame.file, NOT_OF_THE_TASK):
            yield frame


def describe_future(future: Any, frames: Iterable[FrameType]) -> Wait:
    """Describe what a task waits for.

    Args:
        future: the asyncio future that the task awaits.
        frames: the frames of the task, the innermost last.
    """
    stack = list(frames)
    if tasks := tasks_behind(future) or tasks_in_frames(stack):
        return wait_for_tasks(tasks)
    for frame in stack[-INNERMOST:]:
        known = KNOWN_WAITS.get(frame.f_code.co_qualname)
        if known is not None and ends_with(frame.f_code.co_filename, known[0]):
            return Wait(known[1])
    if is_of_a_thread(future):
        return Wait("a worker thread of asyncio, or a future of another thread")
    return Wait(f"asyncio future {future!r}")


def is_of_a_thread(future: Any) -> bool:
    """Return whether another thread will set a future of ``run_in_executor()``, for example."""
    names = (getattr(each[0], "__qualname__", "") for each in callbacks_of(future))
    return any(name.startswith("_chain_future.") for name in names)


def ends_with(file: str, path: str | tuple[str, ...]) -> bool:
    """Return whether the name of a file ends with a path, or with one of several."""
    return file.replace("\\", "/").endswith(path)


def tasks_behind(future: Any) -> list[Any]:
    """Return the tasks, of asyncio or mio, whose end completes this future."""
    if isinstance(future, asyncio.Task):
        return [future]
    if hasattr(future, "task_of_mio"):
        return [task for task in [future.task_of_mio()] if task is not None]
    return tasks_in(children_of_gather(future))


def tasks_in_frames(stack: list[FrameType]) -> list[Any]:
    """Return the tasks for which a function of asyncio in the innermost frames waits."""
    for frame in stack[-INNERMOST:]:
        group = GROUPS.get(frame.f_code.co_qualname)
        if group is not None and ends_with(frame.f_code.co_filename, group[0]):
            tasks = tasks_in(frame.f_locals.get(group[1]))
            if tasks:
                return tasks
    return []


def tasks_in(found: Any) -> list[Any]:
    """Return the unfinished asyncio tasks of a group or collection, or the one that is given."""
    if isinstance(found, asyncio.TaskGroup):
        found = getattr(found, "_tasks", ())
    elif isinstance(found, asyncio.Future):
        found = [found]
    elif not isinstance(found, Collection):  # wait_for() can get a coroutine
        return []
    return [each for each in found if isinstance(each, asyncio.Task) and not each.done()]


def wait_for_tasks(tasks: list[Any]) -> Wait:
    """Return the description of a wait for the end of tasks."""
    names = [name_of(each) for each in tasks]
    words = names[0] if len(names) == 1 else f"{len(names)} tasks: {', '.join(names[:5])}"
    more = ", …" if len(names) > 5 else ""
    return Wait(words + more, tasks=tuple(tasks), needs_a_task=True)


def name_of(task: Any) -> str:
    """Return the name of a task of asyncio or mio, for a sentence."""
    if isinstance(task, asyncio.Task):
        return f"asyncio task {task.get_name()!r}"
    return f"task {task.name!r}"
