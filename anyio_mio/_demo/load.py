"""The load, as a process: `python -m anyio_mio._demo.load {bursts,steady} PORT ...`.

`bursts` opens many connections at once, lets each make one round trip and closes them, over and
over. `steady` keeps its connections and makes round trips on all of them. Both print lines of
`{"done": fraction}` on the way and one of `{"figures": ...}` at the end.
"""

import argparse
import gc
import json
import selectors
import sys
import time
from array import array
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from typing import Final

from anyio_mio._demo import processor
from anyio_mio._demo.conversation import Conversation, LostBytesError, payloads

PATIENCE: Final = 5.0  # seconds without any answer after which the server counts as stuck
REPORT_EVERY: Final = 100_000_000  # nanoseconds between two lines of progress
# Each closed connection holds its port for up to a minute. Linux has 28 232 of them by default.
MOST_CONNECTIONS: Final = 20_000


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What one run of the load measured.

    Attributes:
        connections: How many were opened.
        verified_bytes: How many bytes came back and were the right ones; all that were sent, since
            anything else ends the run.
        round_trips: How many payloads came back within the time.
        seconds: How long that took.
        p50_us: The median time of a round trip, in microseconds.
        p99_us: The time that one round trip in a hundred exceeds.
    """

    connections: int
    verified_bytes: int
    round_trips: int
    seconds: float
    p50_us: float
    p99_us: float


class Progress:
    """Tells how far a run has come, now and then."""

    def __init__(self, seconds: float) -> None:
        self.start = time.perf_counter_ns()
        self.deadline = self.start + int(seconds * 1e9)
        self._next_report = self.start

    def goes_on(self, share: float = 0.0) -> bool:
        """Report, and say whether there is time left.

        Args:
            share: How far the run has come by another measure than time.
        """
        now = time.perf_counter_ns()
        if now >= self._next_report:
            self._next_report = now + REPORT_EVERY
            by_time = (now - self.start) / max(self.deadline - self.start, 1)
            say({"done": min(max(share, by_time), 1.0)})
        return now < self.deadline

    def seconds(self) -> float:
        return (time.perf_counter_ns() - self.start) / 1e9


def bursts(port: int, connections: int, size: int, seconds: float) -> LoadFigures:
    """Open `connections` at once, one round trip on each, and again until time is up."""
    choice = payloads(size)
    times = array("Q")
    progress = Progress(seconds)
    while progress.goes_on(len(times) / MOST_CONNECTIONS):
        count = min(connections, MOST_CONNECTIONS - len(times))
        if count == 0:
            break
        one_burst(port, count, choice, times)
    return figures(times, progress.seconds(), len(times), len(times) * size)


def one_burst(port: int, count: int, choice: list[bytes], times: "array[int]") -> None:
    """Open so many connections before reading from any; add how long each took."""
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for number in range(count):
            started = time.perf_counter_ns()
            talk = stack.enter_context(closing(Conversation(port, number, choice)))
            talk.sent_at = started
            selector.register(talk.sock, selectors.EVENT_WRITE, talk)
        while selector.get_map():
            for key, mask in ready(selector):
                converse_once(selector, key.data, mask, times)


def converse_once(
    selector: selectors.BaseSelector, talk: Conversation, mask: int, times: "array[int]"
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


def steady(port: int, connections: int, size: int, seconds: float) -> LoadFigures:
    """Keep `connections` open and make round trips on all of them until time is up."""
    choice = payloads(size)
    times = array("Q")
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        talks = [Conversation(port, number, choice) for number in range(connections)]
        for talk in talks:
            stack.enter_context(closing(talk))
        connect_all(talks)
        for talk in talks:
            selector.register(talk.sock, selectors.EVENT_READ, talk)
            talk.send(time.perf_counter_ns())
        progress = Progress(seconds)
        while progress.goes_on():
            trip_on_all(selector, times)
        elapsed = progress.seconds()
        collect_the_rest(selector, connections)
    return figures(times, elapsed, connections, (len(times) + connections) * size)


def trip_on_all(selector: selectors.BaseSelector, times: "array[int]") -> None:
    """Take the answers that are there and send the next payloads."""
    clock = time.perf_counter_ns
    for key, _ in ready(selector):
        talk = key.data
        if talk.receive():
            now = clock()
            times.append(now - talk.sent_at)
            talk.send(now)


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
    """What is ready, after waiting for it.

    Raises:
        LostBytesError: Nothing came for so long that the server must be stuck.
    """
    events = selector.select(PATIENCE)
    if not events:
        raise LostBytesError(f"no answer within {PATIENCE:.0f} s; the server is stuck")
    return events


def figures(
    times: "array[int]", seconds: float, connections: int, verified_bytes: int
) -> LoadFigures:
    """Sum up a run in which every round trip was checked byte for byte."""
    ordered = sorted(times) or [0]
    return LoadFigures(
        connections=connections,
        verified_bytes=verified_bytes,
        round_trips=len(times),
        seconds=seconds,
        p50_us=ordered[len(ordered) // 2] / 1000,
        p99_us=ordered[len(ordered) * 99 // 100] / 1000,
    )


def say(message: dict[str, object]) -> None:
    """Print one line of JSON."""
    print(json.dumps(message), flush=True)


KINDS: Final[dict[str, Callable[[int, int, int, float], LoadFigures]]] = {
    "bursts": bursts,
    "steady": steady,
}


def main() -> int:
    """Run the load that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--processor", type=int)
    given = parser.parse_args()
    processor.stay_on(given.processor)
    gc.disable()  # its pauses would count as the server's
    try:
        result = KINDS[given.kind](given.port, given.connections, given.size, given.seconds)
    except (LostBytesError, OSError) as problem:
        say({"problem": str(problem) or type(problem).__name__})
        return 1
    say({"figures": asdict(result)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
