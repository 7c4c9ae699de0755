"""One server process, one load process, and what the server used while the load ran."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from anyio_mio._bench import system_calls
from anyio_mio._bench.certificate import make_certificate
from anyio_mio._demo import processor
from anyio_mio._demo.backends import TRIO_PROGRAMS
from anyio_mio._demo.load import LoadFigures
from anyio_mio._demo.measurement import (
    LOAD_MARGIN,
    MeasurementError,
    Server,
    killed_after,
    python_module,
    running_server,
)

Figures = dict[str, float]
SERVER: Final = "anyio_mio._bench.server"
TRIO_SERVER: Final = "anyio_mio._bench.trio_server"
LOAD: Final = "anyio_mio._bench.load"
# What the server must be for a load that is not named like it.
SERVER_KINDS: Final = {"upload": "take", "download": "give", "rolling": "tcp", "bursts": "tcp"}


@dataclass(frozen=True, slots=True)
class Drive:
    """How a server is driven.

    Attributes:
        kind: Of the load, as its command line has it.
        peers: How many at once.
        size: Bytes of each payload; for transfers, of what counts as one operation.
        every: Seconds between the beginnings of two bursts, unless one takes longer.
    """

    kind: str
    peers: int = 1
    size: int = 64
    every: float = 0.0


class Load:
    """A running load process, everything connected.

    Args:
        process: The process.
        seconds: How long it is going to take.
    """

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._process = process
        self._seconds = seconds
        self._await("standing")

    def begin(self) -> None:
        """Let it work."""
        assert self._process.stdin is not None
        self._process.stdin.write("begin\n")
        self._process.stdin.flush()

    def figures(self) -> LoadFigures:
        """Wait until it is done; its connections still stand then."""
        return LoadFigures(**self._await("figures"))

    def _await(self, key: str) -> Any:
        assert self._process.stdout is not None
        with killed_after(self._seconds + LOAD_MARGIN, self._process):
            for line in self._process.stdout:
                message = json.loads(line)
                if key in message:
                    return message[key]
                if "problem" in message:
                    raise MeasurementError(message["problem"])
        raise MeasurementError("the load ended without a result")


@contextmanager
def serving(backend: str, kind: str) -> Iterator[tuple[Server, str]]:
    """A server process, and the folder of its socket and certificate."""
    kind = SERVER_KINDS.get(kind, kind)
    with tempfile.TemporaryDirectory() as folder:
        if kind == "tls":
            make_certificate(folder)
        module = TRIO_SERVER if backend in TRIO_PROGRAMS else SERVER
        with running_server(backend, module, kind, "--where", folder) as server:
            if kind != "udp":
                come_and_go(f"{folder}/socket" if kind == "unix" else ("127.0.0.1", server.port))
            yield server, folder


def come_and_go(address: tuple[str, int] | str) -> None:
    """Connect and close, for a server that never saw that is not what anybody runs.

    asyncio reads with buffers of 256 KiB, and until one of them is freed unused, at the end of a
    connection, glibc's malloc maps and unmaps each: an echo then costs twice as much.
    """
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.connect(address)


@contextmanager
def loading(server: Server, folder: str, drive: Drive, seconds: float) -> Iterator[Load]:
    """A load process that has connected; it is over when the block is left."""
    place = processor.third() if drive.kind == "probe" else processor.pair()[1]
    command = python_module(LOAD, drive.kind, place)
    command += [str(server.port), f"--peers={drive.peers}", f"--size={drive.size}"]
    command += [f"--seconds={seconds}", f"--every={drive.every}"]
    if drive.kind == "unix":
        command += ["--path", f"{folder}/socket"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Load(process, seconds)
        finally:
            process.kill()


def run(server: Server, load: Load, drive: Drive) -> Figures:
    """Let a load work, and say what one operation cost the server."""
    before = server.statistics()
    load.begin()
    result = load.figures()
    after = server.statistics()
    used = after["cpu_seconds"] - before["cpu_seconds"]
    return {
        "cpu_us": used * 1e6 / (result.verified_bytes / drive.size),
        "rate": result.round_trips / result.seconds,
        "p50_us": result.p50_us,
        "p99_us": result.p99_us,
    }


def measure(backend: str, drive: Drive, seconds: float) -> Figures:
    """Start a server and a load, and measure."""
    with (
        serving(backend, drive.kind) as (server, folder),
        loading(server, folder, drive, seconds) as load,
    ):
        return run(server, load, drive)


def measure_burst(backend: str, drive: Drive, seconds: float) -> Figures:
    """Measure bursts, with a quiet connection beside them whose round trips are timed."""
    with (
        serving(backend, drive.kind) as (server, folder),
        loading(server, folder, Drive("probe"), seconds) as probe,
        loading(server, folder, drive, seconds) as storm,
    ):
        probe.begin()
        figures = run(server, storm, drive)
        waited = probe.figures()
    return {**figures, "p50_us": waited.p50_us, "p99_us": waited.p99_us}


def measure_idle(backend: str, drive: Drive, seconds: float) -> Figures:
    """What a connection takes that stands idle, and what all of them cost twenty busy ones."""
    busy = Drive("tcp", peers=20)
    with serving(backend, drive.kind) as (server, folder):
        with loading(server, folder, busy, seconds / 2) as load:
            alone = run(server, load, busy)
        before = server.statistics()["resident_bytes"]
        with loading(server, folder, drive, seconds):
            after = server.statistics()["resident_bytes"]
            with loading(server, folder, busy, seconds / 2) as load:
                beside = run(server, load, busy)
    return {
        "bytes": (after - before) / drive.peers,
        "cpu_us": beside["cpu_us"],
        "beside": alone["cpu_us"] / beside["cpu_us"],
    }


def count_system_calls(backend: str, drive: Drive, seconds: float) -> dict[str, float]:
    """The server's system calls for each operation, by name; empty where they cannot be counted."""
    with (
        serving(backend, drive.kind) as (server, folder),
        loading(server, folder, drive, seconds) as load,
        system_calls.counting(server.pid) as finish,
    ):
        load.begin()
        result = load.figures()
        calls = finish()
    operations = result.verified_bytes / drive.size
    return {name: number / operations for name, number in calls.items()}
