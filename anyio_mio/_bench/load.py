"""The load, as a process: `python -m anyio_mio._bench.load KIND PORT ...`.

It prints `{"standing": ...}` when everything is connected, begins when it gets a line, prints
`{"figures": ...}` when its time is over, and closes its sockets when standard input ends. So the
server can be looked at while it does the work in question and no other.
"""

from __future__ import annotations

import argparse
import gc
import selectors
import socket
import ssl
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict
from typing import Final

from anyio_mio._bench.resources import raise_descriptor_limit
from anyio_mio._bench.transfer import MEBIBYTE, TRANSFER
from anyio_mio._demo import processor
from anyio_mio._demo.conversation import Conversation, LostBytesError, payloads
from anyio_mio._demo.load import (
    MOST_CONNECTIONS,
    PATIENCE,
    LoadFigures,
    Progress,
    collect_the_rest,
    connect_all,
    converse_once,
    figures,
    one_burst,
    ready,
    say,
    trip_on_all,
)

PAUSE: Final = 0.002  # seconds between two round trips of the probe: it loads nothing

Run = Callable[[Progress], LoadFigures]
Kind = Callable[[argparse.Namespace], AbstractContextManager[Run]]


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


@contextmanager
def trips(given: argparse.Namespace) -> Iterator[Run]:
    """Round trips on all connections, each as soon as the last is back."""
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
    """A peer of the kind that the command line asks for."""
    if given.kind == "udp":
        return Conversation(given.port, number, choice, socket.SOCK_DGRAM)
    if given.kind == "tls":
        return EncryptedConversation(given.port, number, choice)
    return Conversation(given.path or given.port, number, choice)


def encrypt(talks: list[Conversation]) -> None:
    """One handshake after the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for talk in talks:
        assert isinstance(talk, EncryptedConversation)
        talk.shake_hands(context)


@contextmanager
def rolling(given: argparse.Namespace) -> Iterator[Run]:
    """Connections of one round trip; in the place of each that is done a new one is opened."""
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


def open_one(selector: selectors.BaseSelector, port: int, number: int, choice: list[bytes]) -> None:
    """Begin one connection, which `converse_once()` closes."""
    started = time.perf_counter_ns()
    talk = Conversation(port, number, choice)
    talk.sent_at = started
    selector.register(talk.sock, selectors.EVENT_WRITE, talk)


def goes_on(progress: Progress, opened: int) -> bool:
    """Whether there is time, and whether there are ports, for another connection."""
    return progress.goes_on(opened / MOST_CONNECTIONS) and opened < MOST_CONNECTIONS


def counted_in(result: LoadFigures, in_time: int) -> LoadFigures:
    """The same figures with only the round trips that were back within the time as the rate's."""
    return LoadFigures(**{**asdict(result), "round_trips": in_time})


@contextmanager
def bursts(given: argparse.Namespace) -> Iterator[Run]:
    """Connections opened all at once, a round trip on each; then the next burst."""
    choice = payloads(given.size)

    def run(progress: Progress) -> LoadFigures:
        times = array("Q")
        while goes_on(progress, len(times)):
            next_burst = time.monotonic() + given.every
            one_burst(given.port, given.peers, choice, times)
            time.sleep(max(next_burst - time.monotonic(), 0.0))
        return figures(times, progress.seconds(), len(times), len(times) * given.size)

    yield run


@contextmanager
def probe(given: argparse.Namespace) -> Iterator[Run]:
    """One connection that makes a round trip now and then, to see how long it takes."""
    [payload, *_] = payloads(given.size)
    processor.go_first()
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
    """Send to the server, a transfer after the other; it says when it has one whole."""
    data = bytes(TRANSFER)
    with socket.create_connection(("127.0.0.1", given.port), PATIENCE) as client:

        def transfer() -> None:
            client.sendall(data)
            if client.recv(1) != b".":
                raise LostBytesError("the server did not take the transfer")

        yield lambda progress: transfers(transfer, progress)


@contextmanager
def download(given: argparse.Namespace) -> Iterator[Run]:
    """Receive from the server, a transfer after the other."""
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
}


def main() -> int:
    """Run the load that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("port", type=int)
    parser.add_argument("--path", help="of the UNIX socket")
    parser.add_argument("--peers", type=int, default=1)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--every", type=float, default=0.0)
    parser.add_argument("--processor", type=int)
    given = parser.parse_args()
    processor.stay_on(given.processor)
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
