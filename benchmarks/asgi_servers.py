"""Measure the cost of ASGI applications under mio, uvicorn and granian.

    python -m benchmarks.asgi_servers [ROW ...] [--servers NAME,...] [--rounds 3] [--seconds 2]

Rows of requests: plain, starlette, fastapi, post, websocket, file, tls, workers. They show
processor time of the server for each request, requests a second, and the 99th percentile, in
medians. Other rows: rate (percentiles at 15,000 requests a second for each server), idle (bytes of
an open connection without a request), and slow (percentiles of quick clients beside a thousand slow
ones).

Servers run in turns on one processor, the load on another; the row `workers` lets two workers use
both. Needs Linux, wrk, and h2load (of nghttp2-client) for `rate`; and
`pip install fastapi uvicorn uvloop httptools websockets granian`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from anyio_mio._bench.resources import processor_pair, raise_descriptor_limit
from benchmarks.asgi import cpu_seconds, free_port

SERVERS: Final = {
    "mio": "{python} -m anyio_mio serve {app} --bind 127.0.0.1:{port} --workers {workers}",
    "uvicorn": "{python} -m uvicorn {app} --port {port} --workers {workers} --loop uvloop"
    " --http httptools --no-access-log --log-level critical",
    "granian": "{python} -m granian {app} --port {port} --workers {workers} --interface asgi"
    " --no-log --loop uvloop --http 1",
}
TLS: Final = {
    "mio": " --tls-cert {folder}/cert.pem --tls-key {folder}/key.pem",
    "uvicorn": " --ssl-certfile {folder}/cert.pem --ssl-keyfile {folder}/key.pem",
    "granian": " --ssl-certificate {folder}/cert.pem --ssl-keyfile {folder}/key.pem",
}
CERTIFICATE: Final = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    " -subj /CN=localhost -keyout key.pem -out cert.pem"
)
CONNECTIONS: Final = 32
RATE: Final = 15_000  # requests a second in the row `rate`
IDLE: Final = 1000  # connections in the row `idle`
SLOW: Final = 1000  # slow clients of each kind in the row `slow`
BODY: Final = 10_000  # bytes in the row `post`
FILE: Final = 1 << 20


class Row(NamedTuple):
    """A row of requests: an application, a path, and a load."""

    app: str
    path: str = "/"
    is_post: bool = False
    is_tls: bool = False
    workers: int = 1


ROWS: Final = {
    "plain": Row("plain"),
    "starlette": Row("starlette"),
    "fastapi": Row("fastapi", "/?q=3"),
    "post": Row("starlette", "/echo", is_post=True),
    "websocket": Row("starlette", "/talk"),
    "file": Row("starlette", "/file"),
    "tls": Row("starlette", is_tls=True),
    "workers": Row("starlette", workers=2),
}


class Figures(NamedTuple):
    """The results of a load.

    Attributes:
        cpu: microseconds of the server for each request.
        rate: requests a second.
        p99: milliseconds.
    """

    cpu: float
    rate: float
    p99: float


class Server:
    """A running server."""

    def __init__(self, pid: int, port: int, load: int | None) -> None:
        self.pid = pid
        self.port = port
        self.load = load

    def processes(self) -> list[int]:
        """Return the server's process and its children."""
        found = [self.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def cpu(self) -> float:
        """Processor time in seconds so far."""
        return sum(map(cpu_seconds, self.processes()))

    def resident(self) -> int:
        """Bytes of memory."""
        pages = (Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in self.processes())
        return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")

    def run_load(self, command: list[str]) -> str:
        """Run a load on its processor; return its output."""
        on_its_own = [] if self.load is None else ["taskset", "-c", str(self.load)]
        return subprocess.run(
            [*on_its_own, *command], capture_output=True, text=True, check=True
        ).stdout


@contextmanager
def running(name: str, app: str, *, is_tls: bool = False, workers: int = 1) -> Iterator[Server]:
    """Run a server during the block."""
    place, load = processor_pair()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file.bin")
        file.write_bytes(b"x" * FILE)
        subprocess.run(CERTIFICATE.split(), cwd=folder, check=True, stderr=subprocess.DEVNULL)
        text = SERVERS[name] + (TLS[name] if is_tls else "")
        command = text.format(
            python=sys.executable,
            app=f"benchmarks.asgi_apps:{app}",
            port=port,
            workers=workers,
            folder=folder,
        ).split()
        if place is not None and workers == 1:
            command = ["taskset", "-c", str(place), *command]
        environment = {**os.environ, "BENCHMARK_FILE": str(file)}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                wait_until_it_serves(port, process)
                yield Server(process.pid, port, load)
            finally:
                process.terminate()


def wait_until_it_serves(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers; an answer of TLS to a request in clear text counts too."""
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"ended with {process.returncode}: {process.args!r}")
        try:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                client.recv(1)
        except ConnectionError:
            time.sleep(0.05)
        else:
            time.sleep(0.3)  # the other workers
            return
    sys.exit("the server does not start")


# Requests.


def measure(name: str, row: Row, seconds: float) -> Figures:
    """Load one server for one row."""
    drive = drive_websockets if row.path == "/talk" else drive_requests
    with running(name, row.app, is_tls=row.is_tls, workers=row.workers) as server:
        drive(server, row, min(1.0, seconds))
        before = server.cpu()
        requests, p99 = drive(server, row, seconds)
        return Figures((server.cpu() - before) / requests * 1e6, requests / seconds, p99)


def drive_requests(server: Server, row: Row, seconds: float) -> tuple[int, float]:
    """Send requests by wrk; return the number of answers, and the 99th percentile in ms."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if row.is_post:
            script.write(f'wrk.method = "POST"\nwrk.body = string.rep("x", {BODY})\n')
            script.flush()
        url = f"http{'s' * row.is_tls}://127.0.0.1:{server.port}{row.path}"
        options = [
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{max(1, round(seconds))}",
            "--latency",
            "-s",
            script.name,
        ]
        text = server.run_load(["wrk", *options, url])
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"errors:\n{text}")
    found = re.search(r"(\d+) requests in", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    assert found is not None
    assert p99 is not None
    return int(found[1]), float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]]


def drive_websockets(server: Server, row: Row, seconds: float) -> tuple[int, float]:
    """Send messages and receive them back, in a separate process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.asgi_servers",
        "talk",
        str(server.port),
        str(seconds),
    ]
    messages, p99 = server.run_load(command).split()
    return int(messages), float(p99)


def talk(port: int, seconds: float) -> None:
    """Run the load of WebSockets: each client sends a message when the last one is back."""
    import select

    payload = b"hello world"
    message = bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload  # a mask of zeros
    poller, clients, begun = select.epoll(), {}, {}
    for _ in range(CONNECTIONS):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(
            b"GET /talk HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n"
            % base64.b64encode(bytes(16))
        )
        while not client.recv(4096).endswith(b"\r\n\r\n"):
            pass
        clients[client.fileno()] = client
        poller.register(client, select.EPOLLIN)
    now = time.perf_counter
    for fd, client in clients.items():
        begun[fd] = now()
        client.sendall(message)
    end, times = now() + seconds, []
    while now() < end:
        for fd, _ in poller.poll(1):
            assert clients[fd].recv(4096)[2:] == payload
            times.append(now() - begun[fd])
            begun[fd] = now()
            clients[fd].sendall(message)
    sys.stdout.write(f"{len(times)} {percentile(times, 99) * 1000:.2f}\n")


def percentile(values: list[float], share: float) -> float:
    """Return the value that ``share`` percent of the values do not exceed."""
    return sorted(values)[min(int(len(values) * share / 100), len(values) - 1)]


# Other rows.


def measure_rate(name: str, seconds: float) -> str:
    """Return percentiles at one rate that each server can serve."""
    with running(name, "plain") as server, tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/log"
        options = [
            f"-c{CONNECTIONS}",
            "-t1",
            f"--rps={RATE / CONNECTIONS}",
            f"-D{max(1, round(seconds))}",
        ]
        before = server.cpu()
        server.run_load(
            ["h2load", "--h1", *options, f"--log-file={log}", f"http://127.0.0.1:{server.port}/"]
        )
        used = server.cpu() - before
        times = [int(line.split()[2]) / 1000 for line in Path(log).read_text().splitlines()]
    shown = " ".join(
        f"p{share:g} {percentile(times, share):.2f} ms" for share in (50, 95, 99, 99.9)
    )
    return f"{len(times) / seconds:.0f}/s {shown} CPU {used / len(times) * 1e6:.1f} us"


def measure_idle(name: str, seconds: float) -> str:
    """Return the resident memory of an open connection that has had one answer."""
    with running(name, "plain") as server:
        first = [connect_and_ask(server.port) for _ in range(100)]
        before = server.resident()
        clients = [connect_and_ask(server.port) for _ in range(IDLE)]
        bytes_each = (server.resident() - before) / IDLE
        for client in first + clients:
            client.close()
    return f"{bytes_each:.0f} bytes for each of {IDLE} idle connections"


def connect_and_ask(port: int) -> socket.socket:
    """A connection that has had one answer."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"hello"):
        answer += client.recv(4096)
    return client


def slow_head(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\nHost: ")


def slow_body(client: socket.socket) -> None:
    client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")


def slow_reader(client: socket.socket) -> None:
    client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")


KINDS: Final[dict[str, tuple[Callable[[socket.socket], None], ...]]] = {
    "alone": (),
    "heads": (slow_head,),
    "bodies": (slow_body,),
    "readers": (slow_reader,),
    "all three": (slow_head, slow_body, slow_reader),
}


def measure_slow(name: str, seconds: float) -> str:
    """Return the 99th percentile of quick clients at a rate, beside many slow ones."""
    shown = []
    for kind, begins in KINDS.items():
        with running(name, "starlette") as server:
            clients = [open_slow(server.port, begin) for _ in range(SLOW) for begin in begins]
            time.sleep(1)  # their first requests are a crowd of their own
            times = asyncio.run(ask_beside(server.port, clients, seconds))
            for client in clients:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
        shown.append(f"{kind} p50 {percentile(times, 50):.2f} p99 {percentile(times, 99):.2f} ms")
    return ", ".join(shown)


def open_slow(port: int, begin: Callable[[socket.socket], None]) -> socket.socket:
    """Open a client that begins a request and then trickles, with a small receive buffer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    begin(client)
    client.setblocking(False)
    return client


async def ask_beside(port: int, slow: list[socket.socket], seconds: float) -> list[float]:
    """Send a thousand requests a second by eight quick clients, while the slow ones trickle."""
    end = time.monotonic() + seconds
    times: list[float] = []

    async def quick() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            began = time.perf_counter()
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"hello")
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.008)
        writer.close()

    async def trickle() -> None:
        while slow and time.monotonic() < end:
            for number, client in enumerate(slow):
                if number % 25 == 0:  # or the quick clients here would wait for all of them
                    await asyncio.sleep(0.2 * 25 / len(slow))
                trickle_on(client)

    await asyncio.gather(trickle(), *(quick() for _ in range(8)))
    return times


def trickle_on(client: socket.socket) -> None:
    """Read and send a little."""
    with suppress(BlockingIOError):
        client.recv(100)
    with suppress(OSError):
        client.send(b"x")


OTHERS: Final = {"rate": measure_rate, "idle": measure_idle, "slow": measure_slow}


def show_requests(row: str, servers: list[str], rounds: int, seconds: float) -> None:
    """Measure a row in turns, and print medians."""
    figures: dict[str, list[Figures]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name in servers:
            figures[name].append(measure(name, ROWS[row], seconds))
    first = None
    for name, measured in figures.items():
        cpu, rate, p99 = (statistics.median(values) for values in zip(*measured, strict=True))
        first = first or cpu
        sys.stdout.write(
            f"{row:10} {name:8} CPU {cpu:7.1f} us ({cpu / first:.2f})"
            f" {rate:8.0f}/s  p99 {p99:6.2f} ms\n"
        )
        sys.stdout.flush()


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("rows", nargs="*", choices=[*ROWS, *OTHERS, []], default=[])
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    missing = [name for name in ("wrk", "h2load", "taskset") if shutil.which(name) is None]
    if missing:
        parser.error(f"not installed: {' '.join(missing)}")
    raise_descriptor_limit()
    servers = arguments.servers.split(",")
    for row in arguments.rows or [*ROWS, *OTHERS]:
        if row in ROWS:
            show_requests(row, servers, arguments.rounds, arguments.seconds)
            continue
        for name in servers:
            sys.stdout.write(f"{row:10} {name:8} {OTHERS[row](name, arguments.seconds)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["talk"]:
        talk(int(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
