"""`RunLoop`: the asyncio loop of a run of mio. It ends with the run (A4, A5)."""

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
    """The running loop of a run: in tasks of mio, and in asyncio's callbacks and tasks."""

    __slots__ = ()

    def run_forever(self) -> NoReturn:
        """Raise RuntimeError: the run of mio runs the loop."""
        raise RuntimeError(INSIDE.format("run_forever", "await anyio.sleep_forever()"))

    def run_until_complete(self, future: Any) -> NoReturn:
        """Raise RuntimeError: the run of mio runs the loop. A coroutine is closed."""
        if inspect.iscoroutine(future):
            future.close()
        raise RuntimeError(INSIDE.format("run_until_complete", "await the coroutine or the future"))

    def stop(self) -> NoReturn:
        """Raise RuntimeError: the run ends when its main function does."""
        right = "cancel a scope around the main function: scope.cancel()"
        raise RuntimeError(INSIDE.format("stop", right))

    def close(self) -> None:
        """Close the loop after its run. Inside the run, raise RuntimeError."""
        if self.is_running():
            right = "leave it out: the loop is closed at the end of the run"
            raise RuntimeError(INSIDE.format("close", right))
        self.release()

    async def shut_down(self) -> None:
        """End what the program has left running in asyncio, after the main task has ended."""
        with CancelScope(shield=True):
            self.end_clean_ups()
            await cancel_all_tasks(self)
            await self.shutdown_asyncgens()
            await shut_down_executor(self)

    def end_clean_ups(self) -> None:
        """Cancel the tasks that close dropped async generators, those of now and of later."""
        self.make_face = partial(TaskFace, self, is_ending=True)
        for task in self._kernel.tasks():
            if isinstance(task.face, TaskFace):
                task.face.end_clean_up()


async def cancel_all_tasks(loop: Loop) -> None:
    """Cancel asyncio's tasks, wait for them and report their errors, as `asyncio.run()` does."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            message = "unhandled exception in an asyncio task at the end of a run of mio"
            loop.call_exception_handler({"message": message, "exception": error, "task": task})


async def shut_down_executor(loop: Loop) -> None:
    """Shut down the default executor; wait for its threads for as long as `asyncio.run()` does."""
    timeout = getattr(constants, "THREAD_JOIN_TIMEOUT", None)
    shut_down: Any = loop.shutdown_default_executor
    await (shut_down(timeout) if timeout else shut_down())


class Traps:
    """The methods that an idle loop has in addition to `RunLoop`. Each one initializes the loop."""

    def __getattribute__(self, name: str) -> Any:
        wake_up(self)
        return getattr(self, name)

    def __hash__(self) -> int:
        wake_up(self)
        return hash(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __del__(self) -> None:
        """Do nothing: an idle loop has nothing open that asyncio could warn about."""


TRAPS: Final = ("__getattribute__", "__hash__", "__eq__", "__del__")

LOOK_UP_TELLS: Final = sys.version_info < (3, 14)
"""Whether ``asyncio.current_task()`` calls a method of the loop. If not, no loop is made idle."""


def make_idle_loop(kernel: Kernel) -> RunLoop:
    """Make the loop of a run that has not used asyncio yet. It costs nothing.

    The first use initializes it: when the program reads one of its attributes, or calls
    ``asyncio.current_task()``, which looks up the loop in a dict and so calls ``__hash__()``. From
    then on the kernel tells asyncio which task runs, which costs 0.1 microseconds for each step.

    Each idle loop has its own class, from which `Traps` are removed when the loop is initialized.
    If the loop changed its class instead, CPython would keep its attributes in a dict and look for
    each method there first: 16 ns for each call (measured on CPython 3.11).
    """
    body = {name: vars(Traps)[name] for name in TRAPS}
    idle_class: Any = type(RunLoop.__name__, (RunLoop,), {"__slots__": (), **body})
    loop: RunLoop = idle_class.__new__(idle_class)
    loop._kernel = kernel
    return loop


def wake_up(loop: Any) -> None:
    """Initialize an idle loop and make it the loop of its run. Any thread may be the first user."""
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
        is_ours = running.kernel is kernel  # in another thread, ask the entry queue
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
        """Make the kernel's loop the running loop. If it has none, make an idle one."""
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
    """Raise the SystemExit or KeyboardInterrupt of a callback in the main task, or end the run."""
    if kernel.main is None or not kernel.throw(kernel.main, error):
        kernel.crash_with(error)


def install() -> None:
    """Give a loop to all runs from now on, and to those that have begun already."""
    adopt(asyncio.CancelledError)
    teach_task_groups(Cancelled)
    side = Side()
    asyncio_sides.append(side)
    for kernel in list(living_kernels):
        if running.kernel is kernel:
            side.begin(kernel)
        else:
            kernel.entry.put(partial(side.begin, kernel))
