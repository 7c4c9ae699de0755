"""The row `demo`: bursts of connections, then round trips, against one server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from anyio_mio._bench.load import LoadFigures
from anyio_mio._bench.measuring import Figures, run
from anyio_mio._bench.processes import Drive, Report, loading, serving
from anyio_mio._bench.protocol import PAYLOAD

CONNECTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one backend did.

    Attributes:
        backend: Its name.
        bursts: The load that opens connections in bursts.
        steady: The load that makes round trips on standing connections.
        cpu_us_per_round_trip: Processor time of the server in the steady load, in microseconds.
        accepts_per_wakeup: How often the listener accepted so many connections at one wake-up;
            None where it does not count them.
    """

    backend: str
    bursts: LoadFigures
    steady: LoadFigures
    cpu_us_per_round_trip: float
    accepts_per_wakeup: dict[int, int] | None

    @property
    def connections_per_second(self) -> float:
        return self.bursts.connections / self.bursts.seconds

    @property
    def round_trips_per_second(self) -> float:
        return self.steady.round_trips / self.steady.seconds

    @property
    def verified_bytes(self) -> int:
        return self.bursts.verified_bytes + self.steady.verified_bytes


def measure_demo(backend: str, connections: int, seconds: float, report: Report) -> Measurement:
    """Drive one server with both loads.

    Args:
        backend: A name that `backends.installed()` gives.
        connections: How many at once.
        seconds: How long, half of it for each load.
        report: Called now and then with the share that is done.

    Raises:
        MeasurementError: The server failed, or a byte did not come back.
    """
    storm, trips = Drive("bursts", connections), Drive("tcp", connections)
    with serving(backend, "tcp") as server:
        with loading(server, storm, seconds / 2) as load:
            bursts = run(server, load, lambda done: report(done / 2))
        with loading(server, trips, seconds / 2) as load:
            steady = run(server, load, lambda done: report((1 + done) / 2))
        batches = server.statistics().get("accepts_per_wakeup")
    return Measurement(
        backend=backend,
        bursts=bursts.load,
        steady=steady.load,
        cpu_us_per_round_trip=steady.cpu_us(PAYLOAD),
        accepts_per_wakeup=batches and {int(size): often for size, often in batches.items()},
    )


def measure_row(backend: str, seconds: float) -> Figures:
    """Return the same as figures of a row: both loads together, and the round trips' times."""
    done = measure_demo(backend, CONNECTIONS, seconds, lambda share: None)
    return {
        "cpu_us": done.cpu_us_per_round_trip,
        "rate": done.round_trips_per_second,
        "p50_us": done.steady.p50_us,
        "p95_us": done.steady.p95_us,
        "p99_us": done.steady.p99_us,
        "connections": done.connections_per_second,
    }
