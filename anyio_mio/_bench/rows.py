"""The rows: what can be measured, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from anyio_mio._bench.inside import measure_program
from anyio_mio._bench.measuring import Drive, Figures, measure, measure_burst, measure_idle
from anyio_mio._bench.programs import GOES
from anyio_mio._bench.transfer import MEBIBYTE

Measure = Callable[[str, float], Figures]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to measure.

    Attributes:
        name: As the command line has it.
        group: The name for it and its like.
        what: What is done, and what one operation is.
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


def driven(group: str, name: str, drive: Drive, what: str) -> Row:
    """A row that drives a server."""

    def measure_it(backend: str, seconds: float) -> Figures:
        return measure(backend, drive, seconds)

    return Row(name, group, what, measure_it, drive)


def burst_row(drive: Drive) -> Row:
    """The row that has a quiet connection beside the bursts."""

    def measure_it(backend: str, seconds: float) -> Figures:
        return measure_burst(backend, drive, seconds)

    what = f"{drive.peers} connections at once every {drive.every * 1000:.0f} ms, a round trip on"
    what += " each; p50 and p99 are of one quiet connection beside them"
    return Row("bursts", "churn", what, measure_it, drive)


def idle_row(drive: Drive) -> Row:
    """The row that measures memory."""

    def measure_it(backend: str, seconds: float) -> Figures:
        return measure_idle(backend, drive, seconds)

    what = (
        f"{drive.peers} connections that did one round trip and stay: bytes for each; the rest is"
    )
    what += " of 20 busy ones beside them"
    return Row("idle", "memory", what, measure_it, figure="bytes")


def inside(name: str) -> Row:
    """A row that runs one of the programs."""
    program, _ = GOES[name]
    what = (program.__doc__ or "").strip().splitlines()[0]

    def measure_it(backend: str, seconds: float) -> Figures:
        return measure_program(backend, name, seconds)

    return Row(name, "micro", what, measure_it)


trips = partial(driven, "trips")
transfer = partial(driven, "transfer")
MICRO: Final = [name for name in GOES if name not in ("crowd", "timers")]  # those are for curves

ROWS: Final[tuple[Row, ...]] = (
    trips("latency", Drive("tcp", 1), "a round trip of 64 bytes, 1 connection"),
    trips("echo", Drive("tcp", 100), "a round trip of 64 bytes, 100 connections"),
    trips("bulk", Drive("tcp", 100, 16384), "a round trip of 16 KiB, 100 connections"),
    trips("many", Drive("tcp", 1000), "a round trip of 64 bytes, 1000 connections"),
    trips("tls", Drive("tls", 100), "a round trip of 64 bytes over TLS, 100 connections"),
    trips("udp", Drive("udp", 100), "a datagram of 64 bytes and its answer, 100 clients"),
    trips("unix", Drive("unix", 100), "a round trip of 64 bytes, 100 UNIX connections"),
    driven(
        "churn",
        "churn",
        Drive("rolling", 64),
        "connect, one round trip of 64 bytes, close; 64 at a time",
    ),
    burst_row(Drive("bursts", 256, every=0.08)),
    transfer("upload", Drive("upload", 1, MEBIBYTE), "a mebibyte received, of 16 at a time"),
    transfer("download", Drive("download", 1, MEBIBYTE), "a mebibyte sent, of 16 at a time"),
    idle_row(Drive("tcp", 4000)),
    *(inside(name) for name in MICRO),
)


def choose(names: tuple[str, ...]) -> list[Row]:
    """The rows of these names or groups, in the order of `ROWS`; all of them for none.

    Raises:
        LookupError: There is neither a row nor a group of a name; its argument is the name.
    """
    known = {row.name for row in ROWS} | {row.group for row in ROWS}
    for name in names:
        if name not in known:
            raise LookupError(name)
    return [row for row in ROWS if not names or row.name in names or row.group in names]
