"""One peer of the load: it sends a payload and wants exactly the same bytes back."""

import contextlib
import errno
import os
import random
import socket
from typing import Final

NOT_YET: Final = {0, errno.EINPROGRESS, errno.EWOULDBLOCK}
PAYLOADS: Final = 64  # a power of two; enough that neighbours and successive trips differ


class LostBytesError(Exception):
    """What came back is not what was sent."""


def payloads(size: int) -> list[bytes]:
    """Different payloads of one size, the same at every run."""
    source = random.Random(size)
    return [source.randbytes(size) for _ in range(PAYLOADS)]


class Conversation:
    """A non-blocking socket whose other end is on this machine.

    Args:
        place: A port of the loopback or the path of a UNIX socket; the connection is under way when
            the constructor returns.
        number: Which of the payloads comes first.
        choice: The payloads, sent in turns.
        kind: The kind of socket.

    Attributes:
        trips: How many payloads have come back.
        sent_at: When the latest payload was sent, for the caller's clock.
    """

    __slots__ = ("_choice", "_expected", "_matched", "_next", "_unsent", "sent_at", "sock", "trips")

    def __init__(
        self,
        place: int | str,
        number: int,
        choice: list[bytes],
        kind: socket.SocketKind = socket.SOCK_STREAM,
    ) -> None:
        family = socket.AF_INET if isinstance(place, int) else socket.AF_UNIX
        self.sock = socket.socket(family, kind)
        self.sock.setblocking(False)
        self.trips = 0
        self.sent_at = 0
        self._choice = choice
        self._next = number
        self._expected = b""
        self._matched = 0
        self._unsent = memoryview(b"")
        address = ("127.0.0.1", place) if isinstance(place, int) else place
        problem = self.sock.connect_ex(address)
        if problem not in NOT_YET:
            self.sock.close()
            raise OSError(problem, os.strerror(problem))

    def fileno(self) -> int:
        return self.sock.fileno()

    def confirm_connected(self) -> None:
        """Raise what became of the connection attempt, once the socket is writable."""
        problem = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, os.strerror(problem))

    def send(self, now: int) -> None:
        """Send the next payload, or as much of it as fits; `receive()` goes on with the rest."""
        payload = self._choice[self._next % len(self._choice)]
        self._next += 1
        self._expected = payload
        self._matched = 0
        self.sent_at = now
        sent = self.sock.send(payload)
        if sent != len(payload):
            self._unsent = memoryview(payload)[sent:]

    def receive(self) -> bool:
        """Read what is there.

        Returns:
            Whether the payload is back as a whole.

        Raises:
            LostBytesError: The server closed too early or sent something else.
        """
        data = self.sock.recv(65536)
        if not data:
            raise LostBytesError(f"the server closed the connection after {self.trips} round trips")
        if not self._expected.startswith(data, self._matched):
            raise LostBytesError(f"other bytes came back on round trip {self.trips + 1}")
        self._matched += len(data)
        if self._unsent:
            self._send_more()
        if self._matched < len(self._expected):
            return False
        self.trips += 1
        return True

    def _send_more(self) -> None:
        """Send of the rest what fits; an echo of what was sent before has just made room."""
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[self.sock.send(self._unsent) :]

    def close(self) -> None:
        self.sock.close()
