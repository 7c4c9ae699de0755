"""One server process, one load process, and the resources that the server used during the load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from anyio_mio._bench import system_calls
from anyio_mio._bench.load import LoadFigures
from anyio_mio._bench.processes import Drive, Load, Report, Server, loading, serving
from anyio_mio._bench.protocol import MEBIBYTE

Figures = dict[str, float]
PROBE: Final = Drive("probe")
BUSY: Final = Drive("tcp", peers=20)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a load, and the resources that the server used for it.

    Attributes:
        load: The measurements of the load.
        cpu_seconds: Processor time of the server.
        sleeps: How often the server gave its processor away to wait.
    """

    load: LoadFigures
    cpu_seconds: float
    sleeps: int

    def cpu_us(self, size: int) -> float:
        """Return processor time of an operation that moves so many bytes, in microseconds."""
        return self.cpu_seconds * 1e6 / (self.load.verified_bytes / size)


def run(server: Server, load: Load, report: Report | None = None) -> Run:
    """Run a load, and return its figures and the resources that the server used."""
    before = server.statistics()
    load.begin()
    result = load.figures(report)
    after = server.statistics()
    return Run(
        result,
        cpu_seconds=after["cpu_seconds"] - before["cpu_seconds"],
        sleeps=after["sleeps"] - before["sleeps"],
    )


def figures(done: Run, drive: Drive) -> Figures:
    """Return the server's cost of one operation."""
    return {
        "cpu_us": done.cpu_us(drive.size),
        "rate": done.load.round_trips / done.load.seconds,
        "p50_us": done.load.p50_us,
        "p95_us": done.load.p95_us,
        "p99_us": done.load.p99_us,
    }


def measure(backend: str, drive: Drive, seconds: float) -> Figures:
    """Start a server and a load, and measure."""
    with serving(backend, drive.kind) as server, loading(server, drive, seconds) as load:
        return figures(run(server, load), drive)


def measure_burst(backend: str, drive: Drive, seconds: float) -> Figures:
    """Measure bursts, with a quiet connection beside them whose round trips are timed."""
    with (
        serving(backend, drive.kind) as server,
        loading(server, PROBE, seconds) as probe,
        loading(server, drive, seconds) as storm,
    ):
        probe.begin()
        done = run(server, storm)
        waited = probe.figures()
    return {
        **figures(done, drive),
        "p50_us": waited.p50_us,
        "p95_us": waited.p95_us,
        "p99_us": waited.p99_us,
        "sleeps": done.sleeps / done.load.connections,
    }


def measure_beside(backend: str, drive: Drive, seconds: float) -> Figures:
    """Measure the round trips of a quiet connection beside greedy ones."""
    with (
        serving(backend, drive.kind) as server,
        loading(server, PROBE, seconds) as probe,
        loading(server, drive, seconds) as hogs,
    ):
        probe.begin()
        done = run(server, hogs)
        waited = probe.figures()
    return {
        "cpu_us": done.cpu_us(MEBIBYTE),
        "rate": done.load.round_trips / done.load.seconds,
        "p50_us": waited.p50_us,
        "p95_us": waited.p95_us,
        "p99_us": waited.p99_us,
    }


def measure_idle(backend: str, drive: Drive, seconds: float) -> Figures:
    """Return the memory of an idle connection, and what all of them cost twenty busy ones."""
    with serving(backend, drive.kind) as server:
        with loading(server, BUSY, seconds / 2) as load:
            alone = run(server, load).cpu_us(BUSY.size)
        before = server.statistics()["resident_bytes"]
        with loading(server, drive, seconds):
            after = server.statistics()["resident_bytes"]
            with loading(server, BUSY, seconds / 2) as load:
                beside = run(server, load).cpu_us(BUSY.size)
    return {
        "bytes": (after - before) / drive.peers,
        "cpu_us": beside,
        "beside": alone / beside,
    }


def count_system_calls(backend: str, drive: Drive, seconds: float) -> dict[str, float]:
    """Return the server's system calls for each operation, by name; empty if uncountable."""
    with (
        serving(backend, drive.kind) as server,
        loading(server, drive, seconds) as load,
        system_calls.counting(server.pid) as finish,
    ):
        load.begin()
        result = load.figures()
        calls = finish()
    operations = result.verified_bytes / drive.size
    return {name: number / operations for name, number in calls.items()}
