"""Detection by other libraries of a kernel that runs in a thread: sniffio, and asyncio's loop.

asyncio has a running loop in a run of mio only if the program uses asyncio. The package names the
module that brings it (`beside`), and this module imports it when the program has imported asyncio.
So nothing here depends on that module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Final, Protocol, final

import sniffio

from anyio_mio._backend import import_hook
from anyio_mio._kernel.kernel import Kernel, running_kernel

beside: Final[dict[str, str]] = {}
"""For each name of a library, our module that a run imports together with it."""


def watch_libraries() -> None:
    """Import our module for each library of `beside`: now, or when the program imports it."""
    for library in beside:
        import_hook.watch(library, import_beside)


def import_beside(library: ModuleType) -> None:
    """Import our module for this library."""
    import_module(beside[library.__name__])


class AsyncioSide(Protocol):
    """The functions of `anyio_mio.asyncio` before and after a kernel runs in a thread."""

    def begin(self, kernel: Kernel, /) -> None:
        """Give the thread a running loop."""

    def end(self, kernel: Kernel, /) -> None:
        """Leave the thread without a running loop."""


asyncio_sides: Final[list[AsyncioSide]] = []
"""Empty until `anyio_mio.asyncio` is imported, which adds its own."""


@final
class Detection(AbstractContextManager[None]):
    """While it is entered, sniffio answers "mio" in this thread, and asyncio has a running loop.

    sniffio reads its thread-local name before its context variable. So the answer is right in
    callbacks that run in another context, and code between two steps of the test runner detects
    nothing. It can be left twice, if a signal's handler has cut the first time short.
    """

    __slots__ = ("_kernel", "_previous")

    def __init__(self) -> None:
        self._kernel: Kernel | None = None
        self._previous = sniffio.thread_local.name

    def __enter__(self) -> None:
        self._kernel = running_kernel()
        sniffio.thread_local.name = "mio"
        for side in asyncio_sides:
            side.begin(self._kernel)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        sniffio.thread_local.name = self._previous
        if self._kernel is not None:
            for side in asyncio_sides:
                side.end(self._kernel)


@contextmanager
def without_asyncio_loop(kernel: Kernel) -> Iterator[None]:
    """Hide the run's asyncio loop while the loop's thread blocks on purpose.

    Many test suites use blockbuster, which refuses calls that block where asyncio has a running
    loop.
    """
    for side in asyncio_sides:
        side.end(kernel)
    try:
        yield
    finally:
        for side in asyncio_sides:
            side.begin(kernel)
        task = kernel.current
        if kernel.asyncio is not None and task is not None:
            kernel.asyncio.enter(task.face or kernel.asyncio.make_face(task))


def forget_name() -> None:
    """Clear the context variable that AnyIO sets to the backend's name before a run.

    `Detection` is enough in the thread of the run. But ``asyncio.to_thread()``, for example, copies
    a task's context into another thread, and a forked child has a copy. Neither could begin a run
    there: "Already running mio".
    """
    if sniffio.current_async_library_cvar.get() == "mio":
        sniffio.current_async_library_cvar.set(None)


if sys.platform != "win32":  # Windows cannot fork
    os.register_at_fork(after_in_child=forget_name)
