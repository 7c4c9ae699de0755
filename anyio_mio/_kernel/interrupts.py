"""Signals: a C handler's byte ends the kernel's sleep, and Ctrl-C becomes KeyboardInterrupt.

Python runs signal handlers between two bytecodes of the main thread. A signal that arrives just
before ``epoll_wait`` would go unseen until something else happens, so the interpreter is told to
write a byte to a descriptor that the selector watches (`signal.set_wakeup_fd`).

The first Ctrl-C is delivered to the main task at its next checkpoint, where programs expect
exceptions. If a second one comes before that, some task hogs the CPU, and it is raised right there;
only inside the kernel's own code it is not.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from types import FrameType
from typing import TYPE_CHECKING, final

from anyio_mio._kernel.entry import nothing

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel

KERNEL_PACKAGE = __name__.rpartition(".")[0]


@final
class Interrupts:
    """Signal handling of one run; enter it around the run. Does nothing outside the main thread."""

    __slots__ = ("_kernel", "_previous_fd", "_read", "_stack", "_write")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        with contextlib.ExitStack() as stack:
            self._watch_wakeups(stack)
            self._take_over_sigint(stack)
            self._stack = stack.pop_all()

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """The handler of SIGINT."""
        kernel = self._kernel
        in_kernel = frame is None or in_kernel_code(frame)
        if kernel.interrupted and kernel.current is not None and not in_kernel:
            kernel.interrupted = False
            raise KeyboardInterrupt
        kernel.interrupted = True
        if kernel.current is kernel.main:
            kernel.budget = 0
        kernel.entry.put(nothing)

    def _watch_wakeups(self, stack: contextlib.ExitStack) -> None:
        read, write = socket.socketpair()
        stack.callback(read.close)
        stack.callback(write.close)
        read.setblocking(False)
        write.setblocking(False)
        reactor = self._kernel.reactor

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                while read.recv(4096):
                    pass

        reactor.watch_internal(read.fileno(), drain)
        stack.callback(reactor.unwatch_internal, read.fileno())
        previous = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, previous)

    def _take_over_sigint(self, stack: contextlib.ExitStack) -> None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.handle)
            stack.callback(self._give_sigint_back)

    def _give_sigint_back(self) -> None:
        # The program may have set a handler of its own meanwhile.
        if signal.getsignal(signal.SIGINT) == self.handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def in_kernel_code(frame: FrameType) -> bool:
    """Whether raising here could tear the kernel's own state."""
    name = frame.f_globals.get("__name__", "")
    return isinstance(name, str) and name.startswith(KERNEL_PACKAGE)
