"""A listener whose ``accept()`` follows a script of errors and connections."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._net.listeners import SocketListener
from anyio_mio.testing import MockClock
from tests.shared.leaks import nothing_left_open

CONNECTION = "connection"
NO_ADDRESS = "a connection without an address"
EMPTY = "EAGAIN"


class Script:
    """Answers ``accept()`` with one step after the other, and with an empty queue at its end."""

    def __init__(self, *steps: str) -> None:
        self.steps = list(steps)
        self.peers: list[socket.socket] = []
        self.calls = 0
        self.times: list[float] = []

    def __call__(self) -> tuple[int, object]:
        self.calls += 1
        self.times.append(anyio.current_time())
        step = self.steps.pop(0) if self.steps else EMPTY
        if step in (CONNECTION, NO_ADDRESS):
            ours, peer = socket.socketpair()
            self.peers.append(peer)
            return ours.detach(), None if step == NO_ADDRESS else ""
        number = getattr(errno, step)
        raise OSError(number, os.strerror(number))

    def alive(self) -> int:
        """How many of the connections are open at our end."""
        return sum(not at_end(peer) for peer in self.peers)


def at_end(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@contextmanager
def scripted(*steps: str) -> Iterator[tuple[SocketListener, Script]]:
    """A listener of the current run that follows the script."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    script = Script(*steps)
    listener = SocketListener(sock, running_kernel().reactor)
    listener.acceptor._accept_fd = script
    try:
        yield listener, script
    finally:
        listener._close()
        for peer in script.peers:
            peer.close()


def run(main: Callable[[], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run on mio, in no time, and see to it that no descriptor is left open."""
    options.setdefault("clock", MockClock(autojump=0))
    with nothing_left_open():
        anyio.run(main, backend="mio", backend_options=options)
