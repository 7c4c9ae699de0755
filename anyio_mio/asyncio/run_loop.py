"""The loop of a run of mio: attached to its kernel, and closed with it (A4, A5)."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from asyncio import constants
from functools import partial
from typing import Any, Final, NoReturn, final
from weakref import WeakKeyDictionary

from anyio_mio._backend.detection import asyncio_sides
from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.cancelled import Cancelled, adopt
from anyio_mio._kernel.entry import nothing
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.run import living_kernels
from anyio_mio._kernel.running import running
from anyio_mio.asyncio.asyncio_internals import set_running_loop, teach_task_groups
from anyio_mio.asyncio.loop import Loop
from anyio_mio.asyncio.task_face import TaskFace

INSIDE: Final = (
    "{0}() does not work inside a run of mio, which runs the loop itself.\n"
    "  wrong: asyncio.get_running_loop().{0}()\n"
    "  right: {1}"
)


class RunLoop(Loop):
    """The running loop in tasks of mio, and in the callbacks and tasks of asyncio beside them."""

    __slots__ = ()

    def run_forever(self) -> NoReturn:
        """Refuse: the run runs the loop."""
        raise RuntimeError(INSIDE.format("run_forever", "await anyio.sleep_forever()"))

    def run_until_complete(self, future: Any) -> NoReturn:
        """Refuse: a task awaits the future."""
        if inspect.iscoroutine(future):
            future.close()
        raise RuntimeError(INSIDE.format("run_until_complete", "await the coroutine or the future"))

    def stop(self) -> NoReturn:
        """Refuse: the run ends with its main function."""
        right = "cancel a scope around the main function: scope.cancel()"
        raise RuntimeError(INSIDE.format("stop", right))

    def close(self) -> None:
        """Close the loop with its run; inside the run, refuse."""
        if self.is_running():
            right = "nothing: the loop is closed at the end of the run"
            raise RuntimeError(INSIDE.format("close", right))
        self.release()

    async def shut_down(self) -> None:
        """End what is left of asyncio, after the main task."""
        with CancelScope(shield=True):
            self.end_clean_ups()
            await cancel_all_tasks(self)
            await self.shutdown_asyncgens()
            await shut_down_executor(self)

    def end_clean_ups(self) -> None:
        """Cancel the clean-up of async generators that were dropped, now and from now on."""
        self.make_face = partial(TaskFace, self, is_ending=True)
        for task in self._kernel.tasks():
            if isinstance(task.face, TaskFace):
                task.face.end_clean_up()


async def cancel_all_tasks(loop: Loop) -> None:
    """Cancel asyncio's tasks, wait for them, and report what they raised: as asyncio.run() does."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            message = "unhandled exception during the end of a run of mio"
            loop.call_exception_handler({"message": message, "exception": error, "task": task})


async def shut_down_executor(loop: Loop) -> None:
    """Wait for the default executor's threads, as long as asyncio.run() does."""
    timeout = getattr(constants, "THREAD_JOIN_TIMEOUT", None)
    shut_down: Any = loop.shutdown_default_executor
    await (shut_down(timeout) if timeout else shut_down())


class Traps:
    """What the class of an idle loop has beside `RunLoop`: each wakes the loop up."""

    def __getattribute__(self, name: str) -> Any:
        wake_up(self)
        return getattr(self, name)

    def __hash__(self) -> int:
        wake_up(self)
        return hash(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __del__(self) -> None:
        """Warn of nothing: the loop opened nothing."""


TRAPS: Final = ("__getattribute__", "__hash__", "__eq__", "__del__")

LOOK_UP_TELLS: Final = sys.version_info < (3, 14)
"""Whether ``asyncio.current_task()`` touches the loop. Where it does not, no loop is idle."""


def make_idle_loop(kernel: Kernel) -> RunLoop:
    """Make the loop of a run that has not used asyncio yet: it costs nothing.

    It wakes up when it is touched: when the program calls one of its methods, or asks for
    ``asyncio.current_task()``, which looks the loop up in a dict and so asks for its hash. From
    then on the kernel tells asyncio which task runs, for 0.1 microseconds a step.

    Each idle loop has a class of its own, which loses its traps when the loop wakes up. If the loop
    changed its class instead, CPython would keep its attributes in a dict, and would look each
    method up there first: 16 ns for a call (measured, CPython 3.11).
    """
    body = {name: vars(Traps)[name] for name in TRAPS}
    idle_class: Any = type(RunLoop.__name__, (RunLoop,), {"__slots__": (), **body})
    loop: RunLoop = idle_class.__new__(idle_class)
    loop._kernel = kernel
    return loop


def wake_up(loop: Any) -> None:
    """Make an idle loop the loop of its run. Any thread may be the first to touch it."""
    with waking:
        own_class = type(loop)
        if TRAPS[0] not in vars(own_class):
            return
        for name in TRAPS:
            delattr(own_class, name)
        kernel: Kernel = loop._kernel
        RunLoop.__init__(loop, kernel)
        if kernel.main is None:  # the run ends
            loop.end_clean_ups()
        if kernel.is_dead:
            loop.die_in_child()
        is_ours = running.kernel is kernel  # from another thread only the entry queue can tell
        if kernel.is_dead or not (is_ours or kernel.entry.put(nothing)):  # its run is over
            loop.release()
            return
        loop._callbacks.on_raise = partial(end_run, kernel)
        kernel.at_shutdown.append(loop.shut_down)
        kernel.asyncio = loop
    if running.kernel is kernel:
        loop.begin()
        if kernel.current is not None:
            loop.enter(loop.make_face(kernel.current))


waking: Final = threading.RLock()
idle_loops: Final[WeakKeyDictionary[Kernel, RunLoop]] = WeakKeyDictionary()


@final
class Side:
    """Sets the running loop while a kernel takes turns: an `AsyncioSide`."""

    def begin(self, kernel: Kernel, /) -> None:
        """Make the kernel's loop the running one; a run that has none gets an idle one."""
        if isinstance(kernel.asyncio, Loop):
            kernel.asyncio.begin()
            return
        loop = idle_loops.get(kernel)
        if loop is None:
            loop = idle_loops[kernel] = make_idle_loop(kernel)
        set_running_loop(loop)
        if not LOOK_UP_TELLS:
            wake_up(loop)

    def end(self, kernel: Kernel, /) -> None:
        """Leave the thread without a running loop."""
        if isinstance(kernel.asyncio, Loop):
            kernel.asyncio.end()
        else:
            set_running_loop(None)


def end_run(kernel: Kernel, error: BaseException) -> None:
    """Raise a callback's SystemExit or KeyboardInterrupt in the main task, where it waits."""
    if kernel.main is None or not kernel.throw(kernel.main, error):
        kernel.crash_with(error)


def install() -> None:
    """Give each run a loop from now on, also those that have begun."""
    adopt(asyncio.CancelledError)
    teach_task_groups(Cancelled)
    side = Side()
    asyncio_sides.append(side)
    for kernel in list(living_kernels):
        if running.kernel is kernel:
            side.begin(kernel)
        else:
            kernel.entry.put(partial(side.begin, kernel))
