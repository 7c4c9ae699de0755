"""The console of a process: a UNIX socket that answers questions about its runs.

Rules:

1. The socket's file belongs to the user (0600), and a peer of another user is refused.
2. Each client has a thread of its own, and a time to read its answer. A client that does not read
   loses its connection, and nothing else waits for it.
3. The run is asked through its entry queue, as any other thread would ask it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, final
from weakref import WeakSet

from anyio_mio.console.protocol import LONGEST_REQUEST, ProtocolError, decode, encode

LOGGER: Final = logging.getLogger("anyio_mio.console")

NO_UNIX_SOCKETS: Final = "this platform has no UNIX sockets, so there is no console"

SWITCH_INTERVAL: Final = 0.001
"""Seconds for which a thread that makes an answer keeps the interpreter's lock from the program."""

MOST_CLIENTS: Final = 8
QUEUE: Final = 128
"""Clients that wait to be accepted; more of them get an error from the system at once."""

SECONDS_TO_READ: Final = 5.0
"""How long a client may take to read an answer, or to send the rest of a request."""

Answers = dict[str, Callable[[], Any]]
"""For each question, the function that makes the answer: an object for JSON."""


class ConsoleError(Exception):
    """The console cannot be opened; the text says why and what to do."""


@final
class Courtesy:
    """Lets the program run while answers are made, by one thread or by several; entered by each.

    * A tree of 10,000 tasks makes so many objects that Python would collect all generations, and
      stop the program for 40 to 60 ms. None of these objects is in a cycle, so the cycle collector
      pauses.
    * A thread keeps the interpreter's lock for 5 ms when others want it, and a loop gives it away
      at each system call, so a turn would last 15 ms. It keeps it for `SWITCH_INTERVAL` instead.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._was_enabled = False
        self._interval = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._was_enabled = gc.isenabled()
                gc.disable()
                self._interval = sys.getswitchinterval()
                sys.setswitchinterval(min(self._interval, SWITCH_INTERVAL))
            self._inside += 1

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                sys.setswitchinterval(self._interval)
                if self._was_enabled:
                    gc.enable()


COURTESY: Final = Courtesy()


@final
class ConsoleServer:
    """Serves one UNIX socket from threads of its own; a context manager.

    Args:
        path: the socket's file. A file of a console that has ended is replaced.
        answers: what it answers.

    Raises:
        ConsoleError: when it is entered: the path is in use, or the system refuses it.
    """

    def __init__(self, path: str, answers: Answers) -> None:
        self.path: Final = path
        self._answers = answers
        self._socket: socket.socket | None = None
        self._inode: int = 0
        self._room = threading.BoundedSemaphore(MOST_CLIENTS)

    def __enter__(self) -> ConsoleServer:
        self._socket = bind_private(self.path)
        self._inode = os.stat(self.path).st_ino
        OPEN.add(self)
        threading.Thread(
            target=self._accept, args=[self._socket], name="anyio_mio console", daemon=True
        ).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering and remove the socket's file, if it is still ours."""
        sock, self._socket = self._socket, None
        if sock is None:
            return
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # ends the accept() that another thread is in
        sock.close()
        OPEN.discard(self)
        with contextlib.suppress(OSError):
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)

    def close_copy(self) -> None:
        """Close this process's copy after a fork: the console is the parent's, and so is its file.

        Without this, a child that outlives its parent would keep clients waiting for an answer.
        """
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if not self._room.acquire(blocking=False):
                refuse(client, f"{MOST_CLIENTS} clients are connected already")
                continue
            threading.Thread(
                target=self._serve, args=[client], name="anyio_mio console client", daemon=True
            ).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, contextlib.suppress(OSError):
                if is_another_user(client):
                    client.sendall(encode("error", "this program belongs to another user"))
                    return
                self._converse(client)
        finally:
            self._room.release()

    def _converse(self, client: socket.socket) -> None:
        with client.makefile("rb") as lines:
            while True:
                client.settimeout(None)
                if not lines.peek(1):
                    return
                client.settimeout(SECONDS_TO_READ)
                client.sendall(self._answer(lines.readline(LONGEST_REQUEST)))

    def _answer(self, line: bytes) -> bytes:
        try:
            question = decode(line, "ask")
            answer = self._answers.get(question) if isinstance(question, str) else None
            if answer is None:
                known = ", ".join(sorted(self._answers))
                return encode("error", f"{question!r} is not known; ask for one of {known}")
            with COURTESY:
                return encode("answer", answer())
        except ProtocolError as error:
            return encode("error", str(error))
        except Exception as error:
            LOGGER.exception("the console failed to answer")
            return encode("error", f"the answer failed: {error!r}")


OPEN: Final[WeakSet[ConsoleServer]] = WeakSet()
"""The consoles of this process."""


def close_copies() -> None:
    """Close, in the child of a fork, the consoles of its parent."""
    for server in list(OPEN):
        server.close_copy()
    OPEN.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=close_copies)


def bind_private(path: str) -> socket.socket:
    """Make a listening UNIX socket that only this user can open.

    Raises:
        ConsoleError: another console is there, or the system refuses the path.
    """
    if sys.platform == "win32":
        raise ConsoleError(NO_UNIX_SOCKETS)
    sock = socket.socket(socket.AF_UNIX)
    try:
        remove_if_dead(path)
        old = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(old)
        sock.listen(QUEUE)
    except OSError as error:
        sock.close()
        raise ConsoleError(
            f"cannot open a console at {path!r}: {error.strerror or error}\n"
            "  right: a path of at most 100 characters in a directory that you may write to"
        ) from None
    except BaseException:
        sock.close()
        raise
    return sock


def remove_if_dead(path: str) -> None:
    """Remove the file of a console that has ended: one that refuses connections."""
    if sys.platform == "win32":
        raise ConsoleError(NO_UNIX_SOCKETS)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
    raise ConsoleError(
        f"{path!r} is the console of a program that runs\n"
        "  right: a directory, in which each process has a console of its own: "
        "ANYIO_MIO_CONSOLE=/run/user/1000/mio/"
    )


def is_another_user(client: socket.socket) -> bool:
    """Return whether the peer runs under another user; root may look at everything."""
    if sys.platform == "win32":
        raise ConsoleError(NO_UNIX_SOCKETS)
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # the file's mode is what protects the console here
        return False
    credentials = client.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return user not in (os.getuid(), 0)


def refuse(client: socket.socket, reason: str) -> None:
    """Send an error and close the connection; never waits."""
    with client, contextlib.suppress(OSError):
        client.setblocking(False)
        client.send(encode("error", reason))
