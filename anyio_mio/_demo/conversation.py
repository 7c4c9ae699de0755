"""One connection of the load: it sends a payload and wants exactly the same bytes back."""

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
    """A non-blocking connection to a port of the loopback.

    Args:
        port: Where to connect; the connection is under way when the constructor returns.
        number: Which of the payloads comes first.
        choice: The payloads, sent in turns.

    Attributes:
        trips: How many payloads have come back.
        sent_at: When the latest payload was sent, for the caller's clock.
    """

    __slots__ = ("_answer", "_choice", "_expected", "_next", "sent_at", "sock", "trips")

    def __init__(self, port: int, number: int, choice: list[bytes]) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.trips = 0
        self.sent_at = 0
        self._choice = choice
        self._next = number
        self._expected = b""
        self._answer = b""
        problem = self.sock.connect_ex(("127.0.0.1", port))
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
        """Send the next payload; it always fits in the socket's empty buffer."""
        payload = self._choice[self._next % PAYLOADS]
        self._next += 1
        self._expected = payload
        self.sent_at = now
        if self.sock.send(payload) != len(payload):
            raise LostBytesError("the socket's send buffer is smaller than one payload")

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
        if self._answer:
            data = self._answer + data
        if data != self._expected:
            if not self._expected.startswith(data):
                raise LostBytesError(f"other bytes came back on round trip {self.trips + 1}")
            self._answer = data
            return False
        self._answer = b""
        self.trips += 1
        return True

    def close(self) -> None:
        self.sock.close()
