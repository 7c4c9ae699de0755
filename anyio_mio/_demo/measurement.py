"""Measuring one backend: start its server, drive it with both loads, collect what they say."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from anyio_mio._demo import processor
from anyio_mio._demo.load import LoadFigures

PAYLOAD: Final = 64  # bytes; small, so that the backend is measured and not the copying
START_LIMIT: Final = 20.0  # seconds for a server to start and to answer a question
LOAD_MARGIN: Final = 30.0  # seconds that a load may take beyond its own measuring time


class MeasurementError(Exception):
    """A backend could not be measured; the text says why."""


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


class Server:
    """A running server process of the demonstration.

    Args:
        process: The process.
        say_why: Reads what the process wrote to standard error.
    """

    def __init__(self, process: "subprocess.Popen[str]", say_why: Callable[[], str]) -> None:
        self._process = process
        self._say_why = say_why
        self.port: int = self._answer()["port"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def statistics(self) -> dict[str, Any]:
        """Ask for the processor time used and for what the listener has counted."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("statistics\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise MeasurementError(self._say_why()) from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        with killed_after(START_LIMIT, self._process):
            line = self._process.stdout.readline()
        if not line:
            raise MeasurementError(self._say_why())
        message: dict[str, Any] = json.loads(line)
        return message


def measure(
    backend: str, connections: int, seconds: float, report: Callable[[float], None]
) -> Measurement:
    """Measure one backend.

    Args:
        backend: A name that `backends.installed()` gives.
        connections: How many at once.
        seconds: How long, about half of it for each load.
        report: Called now and then with the share that is done.

    Raises:
        MeasurementError: The server failed, or a byte did not come back.
    """
    with running_server(backend) as server:
        bursts = run_load("bursts", server, connections, seconds / 2, lambda done: report(done / 2))
        before = server.statistics()
        steady = run_load(
            "steady", server, connections, seconds / 2, lambda done: report((1 + done) / 2)
        )
        after = server.statistics()
    batches = after.get("accepts_per_wakeup")
    used = after["cpu_seconds"] - before["cpu_seconds"]
    return Measurement(
        backend=backend,
        bursts=bursts,
        steady=steady,
        cpu_us_per_round_trip=used * 1e6 / (steady.verified_bytes / PAYLOAD),
        accepts_per_wakeup=batches and {int(size): often for size, often in batches.items()},
    )


@contextmanager
def running_server(
    backend: str, module: str = "anyio_mio._demo.server", *arguments: str
) -> Iterator[Server]:
    """A server process, ended when the block is left.

    Args:
        backend: A name that `backends.installed()` gives.
        module: A module that greets with a port and answers each line, as the default does.
        arguments: What else its command line has.
    """
    command = [*python_module(module, backend, processor.pair()[0]), *arguments]
    with tempfile.TemporaryFile("w+") as errors:

        def say_why() -> str:
            process.wait(timeout=START_LIMIT)
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:] or ["it said nothing"]
            return f"the server on {backend} ended with status {process.returncode}: {last[0]}"

        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        with process:
            try:
                yield Server(process, say_why)
            finally:
                process.kill()  # it keeps nothing, so there is nothing to lose


def run_load(
    kind: str, server: Server, connections: int, seconds: float, report: Callable[[float], None]
) -> LoadFigures:
    """Run a load against a server and pass on its progress."""
    command = python_module("anyio_mio._demo.load", kind, processor.pair()[1])
    command += [str(server.port), f"--connections={connections}"]
    command += [f"--seconds={seconds}", f"--size={PAYLOAD}"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        killed_after(seconds + LOAD_MARGIN, process),
    ):
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            if "figures" in message:
                return LoadFigures(**message["figures"])
            if "problem" in message:
                raise MeasurementError(message["problem"])
            report(message["done"])
    raise MeasurementError(f"the load {kind} ended without a result")


def python_module(module: str, argument: str, place: int | None) -> list[str]:
    """The command line that runs one of our modules, on a processor of its own if there is one."""
    where = [] if place is None else [f"--processor={place}"]
    return [sys.executable, "-m", module, argument, *where]


@contextmanager
def killed_after(seconds: float, process: "subprocess.Popen[str]") -> Iterator[None]:
    """Kill a process unless the block ends in time; a read from it then sees its end."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
