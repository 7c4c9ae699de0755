"""The load, as a process: `python -m anyio_mio._bench.load KIND PORT ...`.

It prints `{"standing": ...}` when everything is connected, and begins when it receives a line. It
prints `{"done": fraction}` as it proceeds, and `{"figures": ...}` at the end. It closes its sockets
when standard input ends. So the server does only the measured work between these two moments.
"""

from __future__ import annotations

import argparse
import gc
import selectors
import socket
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Final

from anyio_mio._bench.conversation import (
    PATIENCE,
    Conversation,
    EncryptedConversation,
    LostBytesError,
    collect_the_rest,
    connect_all,
    converse_once,
    encrypt,
    payloads,
    ready,
    trip_on_all,
)
from anyio_mio._bench.protocol import MEBIBYTE, PAYLOAD, PIECES, TRANSFER, say
from anyio_mio._bench.resources import go_first, raise_descriptor_limit, stay_on

PAUSE: Final = 0.002  # seconds between two round trips of the probe: it loads nothing
REPORT_EVERY: Final = 100_000_000  # nanoseconds between two lines of progress
# Each closed connection holds its port for up to a minute. Linux gives out every second one of its
# 28 232 ports first. After those 14 116, a connect() searches for a free port: up to 127 ms were
# measured, which would count as the server's.
MOST_CONNECTIONS: Final = 13_000


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """The measurements of one run of the load.

    Attributes:
        connections: How many were opened.
        verified_bytes: How many bytes came back and were right. A wrong byte ends the run.
        round_trips: How many payloads came back within the time.
        seconds: The time that they took.
        p50_us: The median time of a round trip, in microseconds.
        p95_us: The time that one round trip in twenty exceeds.
        p99_us: The time that one round trip in a hundred exceeds.
    """

    connections: int
    verified_bytes: int
    round_trips: int
    seconds: float
    p50_us: float
    p95_us: float
    p99_us: float


class Progress:
    """Reports the progress of a run at intervals."""

    def __init__(self, seconds: float) -> None:
        self.start = time.perf_counter_ns()
        self.deadline = self.start + int(seconds * 1e9)
        self._next_report = self.start

    def goes_on(self, share: float = 0.0) -> bool:
        """Report, and return whether time is left.

        Args:
            share: The progress of the run by another measure than time.
        """
        now = time.perf_counter_ns()
        if now >= self._next_report:
            self._next_report = now + REPORT_EVERY
            by_time = (now - self.start) / max(self.deadline - self.start, 1)
            say({"done": min(max(share, by_time), 1.0)})
        return now < self.deadline

    def seconds(self) -> float:
        return (time.perf_counter_ns() - self.start) / 1e9


Run = Callable[[Progress], LoadFigures]
Kind = Callable[[argparse.Namespace], AbstractContextManager[Run]]


@contextmanager
def trips(given: argparse.Namespace) -> Iterator[Run]:
    """Make round trips on all connections, each as soon as the one before is back."""
    choice = payloads(given.size)
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        talks = [stack.enter_context(closing(dial(given, n, choice))) for n in range(given.peers)]
        connect_all(talks)
        if given.kind == "tls":
            encrypt(talks)
        for talk in talks:
            selector.register(talk.sock, selectors.EVENT_READ, talk)
            talk.send(0)
        collect_the_rest(selector, len(talks))  # each makes one round trip before it counts
        times = array("Q")

        def run(progress: Progress) -> LoadFigures:
            for talk in talks:
                selector.register(talk.sock, selectors.EVENT_READ, talk)
                talk.send(time.perf_counter_ns())
            while progress.goes_on():
                trip_on_all(selector, times)
            seconds = progress.seconds()
            collect_the_rest(selector, len(talks))
            return figures(times, seconds, len(talks), (len(times) + len(talks)) * given.size)

        yield run


def dial(given: argparse.Namespace, number: int, choice: list[bytes]) -> Conversation:
    """Return a peer of the kind in the command line."""
    if given.kind == "udp":
        return Conversation(given.port, number, choice, socket.SOCK_DGRAM)
    if given.kind == "tls":
        return EncryptedConversation(given.port, number, choice)
    return Conversation(given.path or given.port, number, choice)


@contextmanager
def rolling(given: argparse.Namespace) -> Iterator[Run]:
    """Yield a run that replaces each connection after one round trip."""
    choice = payloads(given.size)
    with selectors.DefaultSelector() as selector:

        def run(progress: Progress) -> LoadFigures:
            times = array("Q")
            opened = 0
            while goes_on(progress, opened):
                for _ in range(given.peers - len(selector.get_map())):
                    open_one(selector, given.port, opened, choice)
                    opened += 1
                for key, mask in ready(selector):
                    converse_once(selector, key.data, mask, times)
            seconds, in_time = progress.seconds(), len(times)
            while selector.get_map():
                for key, mask in ready(selector):
                    converse_once(selector, key.data, mask, times)
            return counted_in(figures(times, seconds, opened, opened * given.size), in_time)

        yield run


def open_one(
    selector: selectors.BaseSelector, port: int, number: int, choice: list[bytes]
) -> Conversation:
    """Begin one connection, which `converse_once()` closes."""
    started = time.perf_counter_ns()
    talk = Conversation(port, number, choice)
    talk.sent_at = started
    selector.register(talk.sock, selectors.EVENT_WRITE, talk)
    return talk


def goes_on(progress: Progress, opened: int) -> bool:
    """Return whether time and ports are left for another connection."""
    return progress.goes_on(opened / MOST_CONNECTIONS) and opened < MOST_CONNECTIONS


def counted_in(result: LoadFigures, in_time: int) -> LoadFigures:
    """Return the figures with a rate that counts only the round trips within the time."""
    return LoadFigures(**{**asdict(result), "round_trips": in_time})


def one_burst(port: int, count: int, choice: list[bytes], times: array[int]) -> None:
    """Open all connections before reading from one; add the time of each."""
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for number in range(count):
            talk = open_one(selector, port, number, choice)
            stack.callback(talk.close)
        while selector.get_map():
            for key, mask in ready(selector):
                converse_once(selector, key.data, mask, times)


@contextmanager
def bursts(given: argparse.Namespace) -> Iterator[Run]:
    """Yield a run of bursts: open many connections at once, make a round trip on each."""
    choice = payloads(given.size)

    def run(progress: Progress) -> LoadFigures:
        times = array("Q")
        while goes_on(progress, len(times)):
            next_burst = time.monotonic() + given.every
            count = min(given.peers, MOST_CONNECTIONS - len(times))
            one_burst(given.port, count, choice, times)
            time.sleep(max(next_burst - time.monotonic(), 0.0))
        return figures(times, progress.seconds(), len(times), len(times) * given.size)

    yield run


@contextmanager
def probe(given: argparse.Namespace) -> Iterator[Run]:
    """Yield one connection that makes timed round trips with pauses."""
    [payload, *_] = payloads(given.size)
    go_first()
    with socket.create_connection(("127.0.0.1", given.port), PATIENCE) as client:
        yield lambda progress: probe_for(client, payload, progress)


def probe_for(client: socket.socket, payload: bytes, progress: Progress) -> LoadFigures:
    """Make round trips with pauses until time is up."""
    times = array("Q")
    while progress.goes_on():
        began = time.perf_counter_ns()
        client.sendall(payload)
        if client.recv(len(payload), socket.MSG_WAITALL) != payload:
            raise LostBytesError("other bytes came back to the probe")
        times.append(time.perf_counter_ns() - began)
        time.sleep(PAUSE)
    return figures(times, progress.seconds(), 1, len(times) * len(payload))


@contextmanager
def upload(given: argparse.Namespace) -> Iterator[Run]:
    """Send transfers to the server, which confirms each."""
    data = bytes(TRANSFER)
    with socket.create_connection(("127.0.0.1", given.port), PATIENCE) as client:

        def transfer() -> None:
            client.sendall(data)
            if client.recv(1) != b".":
                raise LostBytesError("the server did not take the transfer")

        yield lambda progress: transfers(transfer, progress)


@contextmanager
def download(given: argparse.Namespace) -> Iterator[Run]:
    """Receive transfers from the server, one after the other."""
    room = memoryview(bytearray(MEBIBYTE))
    with socket.socket() as client:
        # If Linux tunes the buffer, up to 32 MiB, a transfer has two speeds: a connection keeps one
        # of them, at random and on every backend, and the slow one costs twice as much.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MEBIBYTE)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", given.port))

        def transfer() -> None:
            client.sendall(b".")
            missing = TRANSFER
            while missing:
                got = client.recv_into(room[:missing])
                if not got:
                    raise LostBytesError(f"the server closed with {missing} bytes to go")
                missing -= got

        yield lambda progress: transfers(transfer, progress)


def transfers(transfer: Callable[[], None], progress: Progress) -> LoadFigures:
    """Make transfers until time is up, counted in mebibytes."""
    times = array("Q")
    while progress.goes_on():
        began = time.perf_counter_ns()
        transfer()
        times.append(time.perf_counter_ns() - began)
    done = len(times) * TRANSFER
    result = figures(times, progress.seconds(), 1, done)
    return counted_in(result, done // MEBIBYTE)


@contextmanager
def flood(given: argparse.Namespace) -> Iterator[Run]:
    """Send as much as possible to an echo server, without comparing the bytes."""
    with hogs(given) as (selector, clients):
        for client in clients:
            selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE)
        payload = bytes(given.size)
        yield lambda progress: receive_all(selector, payload, progress)


@contextmanager
def pieces(given: argparse.Namespace) -> Iterator[Run]:
    """Receive as much as possible from a server that sends pieces of one size without end."""
    with hogs(given) as (selector, clients):
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
            client.send(PIECES + b"%d" % given.size)
        yield lambda progress: receive_all(selector, b"", progress)


@contextmanager
def hogs(
    given: argparse.Namespace,
) -> Iterator[tuple[selectors.BaseSelector, list[socket.socket]]]:
    """Yield connections that transfer as much as they can."""
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        place = ("127.0.0.1", given.port)
        clients = [
            stack.enter_context(socket.create_connection(place, PATIENCE))
            for _ in range(given.peers)
        ]
        for client in clients:
            client.setblocking(False)
        yield selector, clients


def receive_all(
    selector: selectors.BaseSelector, payload: bytes, progress: Progress
) -> LoadFigures:
    """Receive and send as much as possible until time is up; count mebibytes."""
    room, received = bytearray(MEBIBYTE), 0
    while progress.goes_on():
        for key, mask in ready(selector):
            client: socket.socket = key.fileobj  # type: ignore[assignment] # as registered
            received += exchange(client, mask, room, payload)
    result = figures(array("Q"), progress.seconds(), len(selector.get_map()), received)
    return counted_in(result, received // MEBIBYTE)


def exchange(client: socket.socket, mask: int, room: bytearray, payload: bytes) -> int:
    """Receive and send once, as far as the socket is ready; return how many bytes came."""
    received = 0
    with suppress(BlockingIOError):
        if mask & selectors.EVENT_READ:
            received = client.recv_into(room)
        if mask & selectors.EVENT_WRITE:
            client.send(payload)
    return received


def figures(
    times: array[int], seconds: float, connections: int, verified_bytes: int
) -> LoadFigures:
    """Sum up a run in which every round trip was checked byte for byte."""
    ordered = sorted(times) or [0]
    return LoadFigures(
        connections=connections,
        verified_bytes=verified_bytes,
        round_trips=len(times),
        seconds=seconds,
        p50_us=ordered[len(ordered) // 2] / 1000,
        p95_us=ordered[len(ordered) * 95 // 100] / 1000,
        p99_us=ordered[len(ordered) * 99 // 100] / 1000,
    )


KINDS: Final[dict[str, Kind]] = {
    "tcp": trips,
    "tls": trips,
    "udp": trips,
    "unix": trips,
    "rolling": rolling,
    "bursts": bursts,
    "probe": probe,
    "upload": upload,
    "download": download,
    "flood": flood,
    "pieces": pieces,
}


def main() -> int:
    """Run the load of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("port", type=int)
    parser.add_argument("--path", help="of the UNIX socket")
    parser.add_argument("--peers", type=int, default=1)
    parser.add_argument("--size", type=int, default=PAYLOAD)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--every", type=float, default=0.0)
    parser.add_argument("--processor", type=int)
    given = parser.parse_args()
    stay_on(given.processor)
    raise_descriptor_limit()
    gc.disable()  # its pauses would count as the server's
    try:
        with KINDS[given.kind](given) as run:
            say({"standing": given.peers})
            sys.stdin.readline()
            say({"figures": asdict(run(Progress(given.seconds)))})
            sys.stdin.readline()
    except (LostBytesError, OSError) as problem:
        say({"problem": str(problem) or type(problem).__name__})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
