"""Start servers, loads and programs as processes, and talk to them in lines of JSON."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from anyio_mio._bench.backends import TRIO_PROGRAMS
from anyio_mio._bench.load import LoadFigures
from anyio_mio._bench.protocol import PAYLOAD, MeasurementError
from anyio_mio._bench.resources import family_of, processor_pair, third_processor

SERVER: Final = "anyio_mio._bench.server"
TRIO_SERVER: Final = "anyio_mio._bench.trio_server"
LOAD: Final = "anyio_mio._bench.load"
# The kind of server for a load of another name.
SERVER_KINDS: Final = {
    "upload": "take",
    "download": "give",
    "rolling": "tcp",
    "bursts": "tcp",
    "flood": "either",
    "pieces": "either",
}
START_LIMIT: Final = 20.0  # seconds for a server to start and to answer a question
LOAD_MARGIN: Final = 30.0  # seconds that a load may take beyond its own measuring time
CERTIFICATE: Final = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
)

Report = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Drive:
    """The load for a server.

    Attributes:
        kind: The kind of load, as in its command line.
        peers: How many peers work at once.
        size: Bytes of each payload; for transfers, bytes of one operation.
        every: Seconds between the starts of two bursts, unless a burst takes longer.
    """

    kind: str
    peers: int = 1
    size: int = PAYLOAD
    every: float = 0.0


class Target(Protocol):
    """The part of a server that a load needs."""

    @property
    def port(self) -> int:
        """Its port on the loopback."""

    @property
    def folder(self) -> str:
        """Where its UNIX socket is, if it has one."""


class Server:
    """A running server process.

    Args:
        process: The process.
        say_why: Returns the text that the process wrote to standard error.
        folder: The folder of its UNIX socket and its certificate.
    """

    def __init__(
        self, process: subprocess.Popen[str], say_why: Callable[[], str], folder: str
    ) -> None:
        self._process = process
        self._say_why = say_why
        self.folder = folder
        self.port: int = self._answer()["port"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def statistics(self) -> dict[str, Any]:
        """Ask for the resources that the process has used, and for its listener's counters."""
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

    def figures(self, report: Report | None = None) -> LoadFigures:
        """Wait for the figures; the connections are still open then.

        Args:
            report: Called at intervals with the fraction that is done.
        """
        return LoadFigures(**self._await("figures", report))

    def _await(self, key: str, report: Report | None = None) -> Any:
        assert self._process.stdout is not None
        with killed_after(self._seconds + LOAD_MARGIN, self._process):
            for line in self._process.stdout:
                message = json.loads(line)
                if key in message:
                    return message[key]
                if "problem" in message:
                    raise MeasurementError(message["problem"])
                if report is not None:
                    report(message["done"])
        raise MeasurementError("the load ended without a result")


@contextmanager
def serving(backend: str, kind: str) -> Iterator[Server]:
    """Start a server for a kind of load; it ends with the block.

    Args:
        backend: A name that `backends.installed()` or `backends.variants()` gives.
        kind: The kind of load, or of server if the load has no server of its own.

    Raises:
        MeasurementError: The server did not start; the text has the last line that it wrote.
    """
    kind = SERVER_KINDS.get(kind, kind)
    module = TRIO_SERVER if backend in TRIO_PROGRAMS else SERVER
    command = [*python_module(module, backend, processor_pair()[0]), kind]
    with tempfile.TemporaryDirectory() as folder:
        if kind == "tls":
            make_certificate(folder)
        with running_server([*command, "--where", folder], backend, folder) as server:
            if kind != "udp":
                come_and_go(f"{folder}/socket" if kind == "unix" else server.port)
            yield server


@contextmanager
def running_server(command: list[str], backend: str, folder: str) -> Iterator[Server]:
    """Yield a server process, and kill it at the end of the block."""
    with tempfile.TemporaryFile("w+") as errors:

        def say_why() -> str:
            process.wait(timeout=START_LIMIT)
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:] or ["it said nothing"]
            return f"the server on {backend} ended with status {process.returncode}: {last[0]}"

        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            process_group=0,  # Ctrl-C in the terminal is for the command alone
        ) as process:
            try:
                yield Server(process, say_why, folder)
            finally:
                process.kill()


def make_certificate(folder: str) -> None:
    """Write `certificate.pem` and `key.pem` into a folder, by the command `openssl`.

    Raises:
        MeasurementError: There is no openssl, or it failed.
    """
    if shutil.which("openssl") is None:
        raise MeasurementError("the row needs the command openssl, which is not installed")
    command = [*CERTIFICATE, "-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementError(f"openssl could not make a certificate: {done.stderr.strip()}")


def come_and_go(place: int | str) -> None:
    """Connect and close once: a server in use has seen a connection come and go.

    asyncio reads with buffers of 256 KiB, and until one of them is freed unused, at the end of a
    connection, glibc's malloc maps and unmaps each: an echo then costs twice as much.

    Args:
        place: A port of the loopback or the path of a UNIX socket.
    """
    family = family_of(place)
    with socket.socket(family) as client:
        client.connect(place if isinstance(place, str) else ("127.0.0.1", place))


@contextmanager
def loading(server: Target, drive: Drive, seconds: float) -> Iterator[Load]:
    """Start a load process, which has connected; it ends with the block."""
    place = third_processor() if drive.kind == "probe" else processor_pair()[1]
    command = python_module(LOAD, drive.kind, place)
    command += [str(server.port), f"--peers={drive.peers}", f"--size={drive.size}"]
    command += [f"--seconds={seconds}", f"--every={drive.every}"]
    if drive.kind == "unix":
        command += ["--path", f"{server.folder}/socket"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            yield Load(process, seconds)
        finally:
            process.kill()


def python_module(module: str, argument: str, place: int | None) -> list[str]:
    """Return the command line that runs one of our modules, pinned to a processor if possible."""
    where = [] if place is None else [f"--processor={place}"]
    return [sys.executable, "-m", module, argument, *where]


@contextmanager
def killed_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process unless the block ends in time; a read from it then sees its end."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
