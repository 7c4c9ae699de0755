"""The loop of a run of mio: attached to its kernel, and closed with it (A4, A5)."""

from __future__ import annotations

import asyncio
import inspect
from asyncio import constants
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

from anyio_mio._backend.options import attachments
from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.cancelled import adopt
from anyio_mio._kernel.run import living_kernels
from anyio_mio._kernel.running import running
from anyio_mio.asyncio.loop import Loop

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel

INSIDE: Final = (
    "{0}() does not work inside a run of mio, which runs the loop itself.\n"
    "  wrong: asyncio.get_running_loop().{0}()\n"
    "  right: {1}"
)


@final
class RunLoop(Loop):
    """The running loop in tasks of mio, and in the callbacks and tasks of asyncio beside them."""

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
            await cancel_all_tasks(self)
            await self.shutdown_asyncgens()
            await shut_down_executor(self)


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


def attach(kernel: Kernel) -> None:
    """Give a kernel its loop. In the midst of a run, that becomes the running loop at once."""
    if kernel.asyncio is not None:
        return
    loop = RunLoop(kernel)
    loop._callbacks.on_raise = partial(end_run, kernel)
    kernel.at_shutdown.append(loop.shut_down)
    kernel.asyncio = loop
    if running.kernel is kernel:
        loop.begin()
        if kernel.current is not None:
            loop.enter(loop.make_face(kernel.current))


def end_run(kernel: Kernel, error: BaseException) -> None:
    """A callback raised SystemExit or KeyboardInterrupt: the main task gets it where it waits."""
    if kernel.main is None or not kernel.throw(kernel.main, error):
        kernel.crash_with(error)


def install() -> None:
    """Attach a loop to each kernel from now on, and to those that run already."""
    adopt(asyncio.CancelledError)
    attachments.append(attach)
    for kernel in list(living_kernels):
        if running.kernel is kernel:
            attach(kernel)
        else:
            kernel.entry.put(partial(attach, kernel))
