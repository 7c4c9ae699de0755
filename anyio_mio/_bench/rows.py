"""The rows of the benchmark, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from anyio_mio._bench import demo
from anyio_mio._bench.inside import measure_program
from anyio_mio._bench.measuring import Figures, measure, measure_beside, measure_burst, measure_idle
from anyio_mio._bench.processes import Drive
from anyio_mio._bench.programs import GOES
from anyio_mio._bench.protocol import MEBIBYTE

Measure = Callable[[str, float], Figures]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to measure.

    Attributes:
        name: As the command line has it.
        group: The name of its group of rows.
        what: A sentence about the row and its operation.
        measure: Measures a backend for so many seconds.
        drive: How its server is driven, so that its system calls can be counted too.
        figure: The key of the figure by which backends are compared; less is better.
    """

    name: str
    group: str
    what: str
    measure: Measure
    drive: Drive | None = None
    figure: str = "cpu_us"


def driven(
    group: str,
    name: str,
    drive: Drive,
    what: str,
    how: Callable[[str, Drive, float], Figures] = measure,
) -> Row:
    """Return a row that drives a server."""

    def measure_it(backend: str, seconds: float) -> Figures:
        return how(backend, drive, seconds)

    return Row(name, group, what, measure_it, drive)


def inside(name: str) -> Row:
    """Return a row that runs one of the programs."""
    program, _ = GOES[name]
    what = (program.__doc__ or "").strip().splitlines()[0]

    def measure_it(backend: str, seconds: float) -> Figures:
        return measure_program(backend, name, seconds)

    return Row(name, "micro", what, measure_it)


trips = partial(driven, "trips")
connecting = partial(driven, "connecting")
transfer = partial(driven, "transfer")
memory = partial(driven, "memory")
beside = partial(driven, "fairness")

BURSTS: Final = (
    "256 connections at once every 80 ms, a round trip on each; p50, p95 and p99 are of one quiet"
    " connection beside them, sleeps how often the server waits for each connection"
)
IDLE: Final = (
    "4000 connections that did one round trip and stay: bytes for each; CPU time is of a round trip"
    " of 20 busy ones beside them, the share what it was without them"
)
DEMO: Final = (
    "what `anyio-mio demo` shows: bursts of 100 connections, then round trips on 100 connections;"
    " CPU time, p50, p95 and p99 are of the round trips"
)

BESIDE: Final = "p50, p95 and p99 are of a quiet connection beside them, CPU time is of a mebibyte"
HOGS: Final = (
    ("floods", Drive("flood", 3, MEBIBYTE), "3 clients send all they can to an echo server"),
    ("small-floods", Drive("flood", 30, 64), "30 clients send 64 bytes at a time, all they can"),
    ("downloads", Drive("pieces", 30, 65536), "30 clients receive pieces of 64 KiB"),
    ("pieces", Drive("pieces", 30, 1000), "30 clients receive pieces of 1000 bytes"),
    ("one-send", Drive("pieces", 3, 50_000_000), "3 clients receive 50 MB of each send"),
)

ROWS: Final[tuple[Row, ...]] = (
    trips("latency", Drive("tcp", 1), "a round trip of 64 bytes, 1 connection"),
    trips("echo", Drive("tcp", 100), "a round trip of 64 bytes, 100 connections"),
    trips("bulk", Drive("tcp", 100, 16384), "a round trip of 16 KiB, 100 connections"),
    trips("many", Drive("tcp", 1000), "a round trip of 64 bytes, 1000 connections"),
    trips("tls", Drive("tls", 100), "a round trip of 64 bytes over TLS, 100 connections"),
    trips("udp", Drive("udp", 100), "a datagram of 64 bytes and its answer, 100 clients"),
    trips("unix", Drive("unix", 100), "a round trip of 64 bytes, 100 UNIX connections"),
    connecting("churn", Drive("rolling", 64), "connect, one round trip, close; 64 at a time"),
    connecting("bursts", Drive("bursts", 256, every=0.08), BURSTS, measure_burst),
    Row("demo", "connecting", DEMO, demo.measure_row),
    transfer("upload", Drive("upload", 1, MEBIBYTE), "a mebibyte received, of 16 at a time"),
    transfer("download", Drive("download", 1, MEBIBYTE), "a mebibyte sent, of 16 at a time"),
    replace(memory("idle", Drive("tcp", 4000), IDLE, measure_idle), drive=None, figure="bytes"),
    *(
        replace(
            beside(name, drive, f"{what}; {BESIDE}", measure_beside), drive=None, figure="p99_us"
        )
        for name, drive, what in HOGS
    ),
    *(inside(name) for name in GOES),
)


def choose(names: tuple[str, ...]) -> list[Row]:
    """Return the rows of these names or groups, in the order of `ROWS`; all of them for none.

    Raises:
        LookupError: There is neither a row nor a group of a name; its argument is the name.
    """
    known = {row.name for row in ROWS} | {row.group for row in ROWS}
    for name in names:
        if name not in known:
            raise LookupError(name)
    return [row for row in ROWS if not names or row.name in names or row.group in names]
