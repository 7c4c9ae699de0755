"""Peers of the load: each sends a payload and expects exactly the same bytes back."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import selectors
import socket
import ssl
import time
from array import array
from typing import Final

from anyio_mio._bench.resources import family_of

NOT_YET: Final = {0, errno.EINPROGRESS, errno.EWOULDBLOCK}
PATIENCE: Final = 5.0  # seconds without any answer after which the server counts as stuck
PAYLOADS: Final = 64  # a power of two; enough that neighbours and successive trips differ


class LostBytesError(Exception):
    """What came back is not what was sent."""


def payloads(size: int) -> list[bytes]:
    """Return different payloads of one size, the same at every run."""
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
        family = family_of(place)
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


class EncryptedConversation(Conversation):
    """A conversation over TLS; the certificate is the benchmark's own and is not looked at."""

    __slots__ = ()

    def shake_hands(self, context: ssl.SSLContext) -> None:
        self.sock.settimeout(PATIENCE)
        self.sock = context.wrap_socket(self.sock)
        self.sock.setblocking(False)

    def receive(self) -> bool:
        try:
            return super().receive()
        except ssl.SSLWantReadError:  # part of a record, or a session ticket
            return False


def encrypt(talks: list[Conversation]) -> None:
    """Make the TLS handshakes, one after the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for talk in talks:
        assert isinstance(talk, EncryptedConversation)
        talk.shake_hands(context)


def connect_all(talks: list[Conversation]) -> None:
    """Wait until all connections stand."""
    with selectors.DefaultSelector() as selector:
        for talk in talks:
            selector.register(talk.sock, selectors.EVENT_WRITE, talk)
        while selector.get_map():
            for key, _ in ready(selector):
                key.data.confirm_connected()
                selector.unregister(key.fileobj)


def collect_the_rest(selector: selectors.BaseSelector, waiting: int) -> None:
    """Read the answers that were under way when time was up, so that every byte is back."""
    while waiting:
        for key, _ in ready(selector):
            if key.data.receive():
                selector.unregister(key.fileobj)
                waiting -= 1


def ready(selector: selectors.BaseSelector) -> list[tuple[selectors.SelectorKey, int]]:
    """Return what is ready, after waiting for it.

    Raises:
        LostBytesError: Nothing came for so long that the server must be stuck.
    """
    events = selector.select(PATIENCE)
    if not events:
        raise LostBytesError(f"no answer within {PATIENCE:.0f} s; the server is stuck")
    return events


def converse_once(
    selector: selectors.BaseSelector, talk: Conversation, mask: int, times: array[int]
) -> None:
    """Send on a connection that now stands, or close it when its payload is back."""
    if mask & selectors.EVENT_WRITE:
        talk.confirm_connected()
        talk.send(talk.sent_at)  # its time counts from the start of the connection
        selector.modify(talk.sock, selectors.EVENT_READ, talk)
    elif talk.receive():
        times.append(time.perf_counter_ns() - talk.sent_at)
        selector.unregister(talk.sock)
        talk.close()


def trip_on_all(selector: selectors.BaseSelector, times: array[int]) -> None:
    """Take the answers that are there and send the next payloads."""
    clock = time.perf_counter_ns
    for key, _ in ready(selector):
        talk = key.data
        if talk.receive():
            now = clock()
            times.append(now - talk.sent_at)
            talk.send(now)
