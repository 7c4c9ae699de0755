"""What a request and a WebSocket message cost in calls of Python and of the system."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from types import FrameType
from typing import Any

import anyio
import anyio.to_thread
import pytest

from anyio_mio import asgi
from anyio_mio._bench.system_calls import can_count, counting
from tests.guard.bounds import within

N = 500
IDLE = 200
BODY = b"x" * 10_000
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000\r\n\r\n" + BODY
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MESSAGE = b"\x81\x85\0\0\0\0hello"
CASES = {
    "a GET": (GET, b"\r\n\r\nhello"),
    "a POST of 10 KB": (POST, BODY),
    "a WebSocket message": (MESSAGE, b"\x81\x05hello"),
}

SERVER = """
from anyio_mio import asgi
from anyio_mio._bench.system_calls import allow_tracing
from tests.guard.test_asgi import app

allow_tracing()
asgi.run(app, port={port})
"""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer "hello", or the body, or each message with itself."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
        return
    body = b"hello" if scope["method"] == "GET" else (await receive())["body"]
    length = (b"content-length", b"%d" % len(body))
    headers = [(b"content-type", b"text/plain"), length]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def connect(port: int, name: str) -> socket.socket:
    """A client, behind the handshake if it sends messages, that has had one answer."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    if name == "a WebSocket message":
        client.sendall(HANDSHAKE)
        while not client.recv(4096).endswith(b"\r\n\r\n"):
            pass
    ask(client, name)
    return client


def ask(client: socket.socket, name: str, times: int = 1) -> None:
    """Send a request, or a message, and wait for its answer."""
    request, end = CASES[name]
    for _ in range(times):
        client.sendall(request)
        answer = b""
        while not answer.endswith(end):
            answer += client.recv(65536)


async def calls_of(body: Callable[[], object]) -> Counter[str]:
    """Count the functions in Python that this thread calls while another runs ``body()``."""
    calls: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls[f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"] += 1

    sys.setprofile(profile)
    try:
        await anyio.to_thread.run_sync(body)
    finally:
        sys.setprofile(None)
    return calls


async def calls_of_requests(name: str) -> Counter[str]:
    """Count the functions that this thread calls to serve `N` requests on one connection."""
    async with anyio.create_task_group() as group:
        listeners = await group.start(
            lambda *, task_status: asgi.serve(app, port=0, task_status=task_status)
        )
        port = listeners[0].extra(anyio.abc.SocketAttribute.local_port)
        client = await anyio.to_thread.run_sync(connect, port, name)
        with closing(client):
            calls = await calls_of(lambda: ask(client, name, N))
        group.cancel_scope.cancel()
    return calls


@pytest.mark.invariant("H1")
@pytest.mark.anyio
@pytest.mark.parametrize("name", CASES)
async def test_a_request_makes_no_more_calls_than_it_may(name: str) -> None:
    calls = await calls_of_requests(name)

    ours = (count for function, count in calls.items() if function.startswith("anyio_mio."))
    # Rounded, since a busy machine adds turns: the site's ticks, a client that reads in two pieces.
    within(f"calls: {name}", sum(round(count / N) for count in ours))


@pytest.mark.invariant("H1")
@pytest.mark.anyio
@pytest.mark.parametrize("name", CASES)
async def test_a_request_makes_no_task_no_queue_and_no_event(name: str) -> None:
    calls = await calls_of_requests(name)

    made = {
        function
        for function, count in calls.items()
        if function.endswith((".__init__", ".__new__", ".spawn", ".start_soon"))
        and count >= N  # the site's ticks and the thread that asks make a few
    }
    assert made <= {"anyio_mio.asgi.exchange.Exchange.__init__"}


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["a GET", "a POST of 10 KB"])
async def test_an_idle_connection_takes_no_more_bytes_than_it_may(name: str) -> None:
    async with anyio.create_task_group() as group:
        listeners = await group.start(
            lambda *, task_status: asgi.serve(app, port=0, task_status=task_status)
        )
        port = listeners[0].extra(anyio.abc.SocketAttribute.local_port)

        def open_idle(count: int) -> list[int]:
            """Descriptors, because the clients' socket objects would be counted, too."""
            return [connect(port, name).detach() for _ in range(count)]

        clients = await anyio.to_thread.run_sync(open_idle, 20)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            clients += await anyio.to_thread.run_sync(open_idle, IDLE)
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        for client in clients:
            os.close(client)
        group.cancel_scope.cancel()

    within("bytes: an idle connection of ASGI", (after - before) / IDLE)


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """A server process and its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", SERVER.format(port=port)]) as process:
        try:
            yield process.pid, port
        finally:
            process.send_signal(signal.SIGKILL)


def connect_when_it_listens(port: int, name: str) -> socket.socket:
    for _ in range(400):
        try:
            return connect(port, name)
        except ConnectionRefusedError:
            signal.sigtimedwait([], 0.05)
    raise AssertionError("the server does not start")


@pytest.mark.slow
@pytest.mark.skipif(not can_count(), reason="strace is not installed")
@pytest.mark.parametrize("name", CASES)
def test_a_request_is_a_wait_a_receive_and_a_send(server: tuple[int, int], name: str) -> None:
    pid, port = server
    with closing(connect_when_it_listens(port, name)) as client, counting(pid) as finish:
        ask(client, name, N)
        calls = finish()
    if not calls:
        pytest.skip("strace may not trace here")

    within(f"system calls: {name}", sum(calls.values()) / N, calls)
