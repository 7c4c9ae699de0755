"""System calls for each operation, counted by strace while a server does it over and over.

The server is stopped while the clients send, so that it finds everything at once when it goes on:
how many events share a wait is then no matter of timing.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from anyio_mio._bench.processes import serving
from anyio_mio._bench.system_calls import can_count, counting
from tests.guard.bounds import within

PAYLOAD = b"x" * 64
PEERS = 100
ROUNDS = 10
ALONE = 1000
MOMENT = 0.005  # seconds; strace needs a tenth of a millisecond for a call

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_count(), reason="strace is not installed"),
]


class Traced:
    """A server on mio whose system calls can be counted, and its clients."""

    def __init__(self, pid: int, address: tuple[str, int] | str, stack: ExitStack) -> None:
        self.pid = pid
        self._address = address
        self._stack = stack

    def client(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        family = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
        client = self._stack.enter_context(socket.socket(family, kind))
        client.settimeout(20)
        client.connect(self._address)
        return client

    def count(self, body: Callable[[], None]) -> dict[str, int]:
        with counting(self.pid) as finish:
            body()
            calls = finish()
        if not calls:
            pytest.skip("strace may not trace here")
        return calls

    def descriptors(self) -> int:
        """Return how many descriptors the server has open; costs it no system call."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def wait_for_descriptors(self, count: int) -> None:
        """Wait until the server has closed all but so many."""
        deadline = time.monotonic() + 10
        while self.descriptors() > count:
            assert time.monotonic() < deadline
            time.sleep(MOMENT)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The server does nothing in this block."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while not self._stands_still():
            assert time.monotonic() < deadline
        yield
        os.kill(self.pid, signal.SIGCONT)

    def _stands_still(self) -> bool:
        """Whether all threads are stopped, and for longer than strace stops one at each call.

        The signal may go to a thread that reads; until strace has passed it on, the others run.
        """
        before = self._threads()
        time.sleep(MOMENT)
        return before == self._threads() and all(state in "tT" for state, _ in before)

    def _threads(self) -> list[tuple[str, str]]:
        """The state of each thread, and how often it has let go of its core."""
        texts = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/status")]
        found = [dict(line.split(":\t", 1) for line in text.splitlines()) for text in texts]
        return [(each["State"][0], each["voluntary_ctxt_switches"]) for each in found]


@pytest.fixture
def tcp() -> Iterator[Traced]:
    with serving("mio", "tcp") as server, ExitStack() as stack:
        yield Traced(server.pid, ("127.0.0.1", server.port), stack)


@pytest.fixture
def unix() -> Iterator[Traced]:
    with serving("mio", "unix") as server, ExitStack() as stack:
        yield Traced(server.pid, f"{server.folder}/socket", stack)


@pytest.fixture
def udp() -> Iterator[Traced]:
    with serving("mio", "udp") as server, ExitStack() as stack:
        yield Traced(server.pid, ("127.0.0.1", server.port), stack)


def round_trips(server: Traced, clients: list[socket.socket]) -> None:
    """The clients send while the server is stopped, and then get everything back."""
    with server.stopped():
        for client in clients:
            client.send(PAYLOAD)
    for client in clients:
        assert client.recv(len(PAYLOAD)) == PAYLOAD


def repeat(server: Traced, clients: list[socket.socket]) -> None:
    for _ in range(ROUNDS):
        round_trips(server, clients)


def test_a_round_trip_alone_is_a_wait_a_receive_and_a_send(tcp: Traced) -> None:
    client = tcp.client()

    def body() -> None:
        for _ in range(ALONE):
            client.send(PAYLOAD)
            assert client.recv(len(PAYLOAD)) == PAYLOAD

    body()
    calls = tcp.count(body)

    within("system calls: a round trip alone", sum(calls.values()) / ALONE, calls)


def test_round_trips_share_their_waits(tcp: Traced) -> None:
    clients = [tcp.client() for _ in range(PEERS)]
    round_trips(tcp, clients)

    calls = tcp.count(lambda: repeat(tcp, clients))

    cost = sum(calls.values()) / PEERS / ROUNDS
    within("system calls: a round trip among 100", cost, calls)


def test_unix_streams_receive_once_for_each_message(unix: Traced) -> None:
    clients = [unix.client() for _ in range(PEERS)]
    round_trips(unix, clients)

    calls = unix.count(lambda: repeat(unix, clients))

    cost = sum(calls.values()) / PEERS / ROUNDS
    within("system calls: a UNIX round trip among 100", cost, calls)


def test_datagrams_share_their_waits(udp: Traced) -> None:
    clients = [udp.client(socket.SOCK_DGRAM) for _ in range(PEERS)]
    round_trips(udp, clients)

    calls = udp.count(lambda: repeat(udp, clients))

    cost = sum(calls.values()) / PEERS / ROUNDS
    within("system calls: a datagram among 100", cost, calls)


def test_a_short_connection_costs_nothing_but_its_own_calls(tcp: Traced) -> None:
    watcher = tcp.client()
    round_trips(tcp, [watcher])
    open_before = tcp.descriptors()

    def burst() -> None:
        with tcp.stopped():
            clients = [tcp.client() for _ in range(PEERS)]
        round_trips(tcp, clients)
        with tcp.stopped():
            for client in clients:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
        round_trips(tcp, [watcher])
        tcp.wait_for_descriptors(open_before)  # those who have hung up come after the watcher

    def body() -> None:
        for _ in range(ROUNDS):
            burst()

    burst()
    calls = tcp.count(body)

    assert calls["close"] == pytest.approx(PEERS * ROUNDS, rel=0.02)
    within("system calls: a short connection", sum(calls.values()) / PEERS / ROUNDS, calls)
