"""Measure the cost of a request to a web application, on anyio_mio's server and on others.

    python benchmarks/asgi.py [--application starlette] [--connections 50] [--rounds 3]
        [--seconds 3] [--servers mio,uvicorn-uvloop]

The application answers "hello": `raw` is a function of three arguments, `starlette` and `fastapi`
use these frameworks. The servers take turns. The load keeps its connections open and sends the next
request when it has the last answer, so p50, p95 and p99 are those of a busy server. CPU time is the
server's, for each request, after a second of requests to warm it up. Needs Linux, and
`pip install starlette fastapi uvicorn httptools uvloop anycorn`.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import anyio

import anyio_mio
import anyio_mio.asgi
from anyio_mio._bench.backends import run_arguments
from anyio_mio._bench.resources import processor_pair, stay_on

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
WARM_UP = 1.0  # seconds, at most as long as what is measured


# ------------------------------------------------------------------ applications


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """Answer without a framework."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def starlette() -> Any:
    """Answer by a route of Starlette."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def hello(request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    return Starlette(routes=[Route("/", hello)])


def fastapi() -> Any:
    """Answer by a route of FastAPI, with a parameter that it checks."""
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI()

    @app.get("/", response_class=PlainTextResponse)
    async def hello(number: int = 3) -> str:
        return "hello"

    return app


APPLICATIONS: dict[str, Callable[[], Any]] = {
    "raw": lambda: raw,
    "starlette": starlette,
    "fastapi": fastapi,
}


# ------------------------------------------------------------------ servers


def serve_mio(app: Any, port: int) -> None:
    """Run the server of anyio_mio."""
    anyio_mio.asgi.run(app, port=port, lifespan="off")


def serve_uvicorn(app: Any, port: int, loop: str) -> None:
    """Run uvicorn with its fast parser."""
    import uvicorn

    uvicorn.run(
        app, port=port, loop=loop, http="httptools", lifespan="off",
        access_log=False, log_level="critical",
    )  # fmt: skip


def serve_anycorn(app: Any, port: int, backend: str) -> None:
    """Run anycorn, on any of AnyIO's backends."""
    import anycorn

    config = anycorn.Config.from_mapping(bind=[f"127.0.0.1:{port}"], errorlog=None)
    anyio.run(partial(anycorn.serve, app, config), **run_arguments(backend))


SERVERS: dict[str, tuple[Callable[[Any, int], None], tuple[str, ...]]] = {
    "mio": (serve_mio, ("httptools",)),
    "uvicorn-uvloop": (partial(serve_uvicorn, loop="uvloop"), ("uvicorn", "httptools", "uvloop")),
    "uvicorn-asyncio": (partial(serve_uvicorn, loop="asyncio"), ("uvicorn", "httptools")),
    "anycorn-mio": (partial(serve_anycorn, backend="mio"), ("anycorn",)),
    "anycorn-uvloop": (partial(serve_anycorn, backend="uvloop"), ("anycorn", "uvloop")),
    "anycorn-trio": (partial(serve_anycorn, backend="trio"), ("anycorn", "trio")),
    "anycorn-asyncio": (partial(serve_anycorn, backend="asyncio"), ("anycorn",)),
}
"""Each server, and the modules that it needs."""


def installed() -> list[str]:
    """The servers that can run here."""
    return [name for name, (_, needs) in SERVERS.items() if all(map(find_spec, needs))]


def runnable(text: str) -> list[str]:
    """Return the servers of a comma-separated list, for an option of `argparse`."""
    names = text.split(",")
    for name in names:
        if name not in installed():
            right = ",".join(installed())
            raise argparse.ArgumentTypeError(f"{name!r} cannot run here; right: {right}")
    return names


def serve(name: str, application: str, port: str, place: str) -> None:
    """Run the server process, on the processor `place` if that is a number."""
    stay_on(int(place) if place else None)
    SERVERS[name][0](APPLICATIONS[application](), int(port))


# ------------------------------------------------------------------ load


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def connected(port: int) -> socket.socket:
    """A connection, as soon as the server listens."""
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    sys.exit("the server does not start; what it says stands above")


def answer_length(client: socket.socket) -> int:
    """Return the length of an answer: all are equal, so the load counts bytes, not answers."""
    client.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"hello"):
        answer += client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return len(answer)


def drive(clients: list[socket.socket], length: int, seconds: float) -> list[float]:
    """Let each client send requests; return the seconds of each answer."""
    poller = select.epoll()
    asked = {}
    now = time.perf_counter
    for client in clients:
        poller.register(client.fileno(), select.EPOLLIN)
        asked[client.fileno()] = (client, length, now())
        client.sendall(REQUEST)
    end, latencies, pending = now() + seconds, [], len(clients)
    while pending:
        for fd, _ in poller.poll():
            client, rest, since = asked[fd]
            rest -= len(client.recv(rest))
            if rest:
                asked[fd] = (client, rest, since)
                continue
            moment = now()
            latencies.append(moment - since)
            if moment >= end:
                pending -= 1
                continue
            asked[fd] = (client, length, moment)
            client.sendall(REQUEST)
    return latencies


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Figures(NamedTuple):
    """What one round has measured."""

    cpu_us: float
    rate: float
    p50_us: float
    p95_us: float
    p99_us: float


def measure(name: str, application: str, place: str, connections: int, seconds: float) -> Figures:
    """One round of one server."""
    port = free_port()
    command = [sys.executable, __file__, "serve", name, application, str(port), place]
    with subprocess.Popen(command) as server:
        try:
            clients = [connected(port) for _ in range(connections)]
            length = answer_length(clients[0])
            drive(clients, length, min(WARM_UP, seconds))
            before = cpu_seconds(server.pid)
            latencies = drive(clients, length, seconds)
            used = cpu_seconds(server.pid) - before
        finally:
            server.kill()
    cuts = statistics.quantiles(latencies, n=100)
    count = len(latencies)
    return Figures(used / count * 1e6, count / seconds, *(cuts[i] * 1e6 for i in (49, 94, 98)))


def main() -> None:
    """Measure in turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--application", choices=APPLICATIONS, default="starlette")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--json", type=Path, help="file to which the medians are written")
    parser.add_argument("--servers", type=runnable, default=",".join(installed()))
    arguments = parser.parse_args()
    if arguments.application != "raw" and find_spec(arguments.application) is None:
        parser.error(f"not installed\n  right: pip install {arguments.application}")
    server, load = processor_pair()
    place = "" if server is None else str(server)
    stay_on(load)
    figures: dict[str, list[Figures]] = {}
    for _ in range(arguments.rounds):
        for name in arguments.servers:
            one = measure(
                name, arguments.application, place, arguments.connections, arguments.seconds
            )
            figures.setdefault(name, []).append(one)
    sys.stdout.write(
        f"{arguments.application:16} CPU/request  requests/s      p50      p95      p99\n"
    )
    medians = {
        name: Figures(*map(statistics.median, zip(*measured, strict=True)))
        for name, measured in figures.items()
    }
    for name, middle in medians.items():
        sys.stdout.write(
            f"{name:16} {middle.cpu_us:8.1f} us  {middle.rate:10.0f}"
            f"  {middle.p50_us:7.0f}  {middle.p95_us:7.0f}  {middle.p99_us:7.0f} us\n"
        )
    if arguments.json:
        document = {name: middle._asdict() for name, middle in medians.items()}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        main()
