"""What a request costs a Starlette application under anycorn, on each of AnyIO's backends.

    python benchmarks/asgi.py [--connections 50] [--rounds 3] [--seconds 3] [--backends mio,trio]

The application answers "hello". The load holds its connections open and sends the next request when
the answer to the last one is there. CPU time is the server's, for each request; it is not measured
before a second of requests has warmed it up. Most of it is spent in h11, anycorn and Starlette.
Needs Linux, and `pip install anycorn starlette`.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio

import anyio_mio  # noqa: F401 - registers the backend
from anyio_mio._bench.backends import installed, run_arguments, runnable_names
from anyio_mio._bench.resources import processor_pair, stay_on

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
WARM_UP = 1.0  # seconds, at most as long as what is measured


def serve(backend: str, port: str, place: str) -> None:
    """The server process, on the processor `place` if that is a number."""
    stay_on(int(place) if place else None)
    import anycorn
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def hello(request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app: Any = Starlette(routes=[Route("/", hello)])
    config = anycorn.Config.from_mapping(bind=[f"127.0.0.1:{port}"], errorlog=None)
    anyio.run(partial(anycorn.serve, app, config), **run_arguments(backend))


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
    """Answers are all of one length, so the load can count bytes instead of parsing."""
    client.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"hello"):
        answer += client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return len(answer)


def drive(clients: list[socket.socket], length: int, seconds: float) -> int:
    """Let each client ask again and again; how many answers came."""
    poller = select.epoll()
    missing = {}
    for client in clients:
        poller.register(client.fileno(), select.EPOLLIN)
        missing[client.fileno()] = (client, length)
        client.sendall(REQUEST)
    end, answers, pending = time.monotonic() + seconds, 0, len(clients)
    while pending:
        for fd, _ in poller.poll():
            client, rest = missing[fd]
            rest -= len(client.recv(rest))
            missing[fd] = (client, rest or length)
            if not rest:
                answers += 1
                if time.monotonic() < end:
                    client.sendall(REQUEST)
                else:
                    pending -= 1
    return answers


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(backend: str, place: str, connections: int, seconds: float) -> tuple[float, float]:
    """CPU time for each request in microseconds, and requests a second."""
    port = free_port()
    command = [sys.executable, __file__, "serve", backend, str(port), place]
    with subprocess.Popen(command) as server:
        try:
            clients = [connected(port) for _ in range(connections)]
            length = answer_length(clients[0])
            drive(clients, length, min(WARM_UP, seconds))
            before = cpu_seconds(server.pid)
            answers = drive(clients, length, seconds)
            used = cpu_seconds(server.pid) - before
        finally:
            server.kill()
    return used / answers * 1e6, answers / seconds


def main() -> None:
    """Measure in turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--backends", type=runnable_names, default=",".join(installed()))
    arguments = parser.parse_args()
    missing = [name for name in ("anycorn", "starlette") if find_spec(name) is None]
    if missing:
        parser.error(f"not installed: {' '.join(missing)}\n  right: pip install anycorn starlette")
    server, load = processor_pair()
    place = "" if server is None else str(server)
    stay_on(load)
    figures: dict[str, list[tuple[float, float]]] = {}
    for _ in range(arguments.rounds):
        for backend in arguments.backends:
            figure = measure(backend, place, arguments.connections, arguments.seconds)
            figures.setdefault(backend, []).append(figure)
    for backend, measured in figures.items():
        cpu, rate = (statistics.median(values) for values in zip(*measured, strict=True))
        sys.stdout.write(f"{backend:8} CPU {cpu:7.1f} us for each request {rate:8.0f} requests/s\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        main()
