"""Hundreds of slow clients beside quick ones: these are served, those end in time, all is freed."""

from __future__ import annotations

import gc
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from anyio_mio.asgi.connection import Connection
from anyio_mio.asgi.exchange import Exchange
from tests.asgi import apps
from tests.asgi.served import KINDS, Client, Kind, Served, request, serving
from tests.asgi.test_requests import wait_for
from tests.asgi.test_websockets import HANDSHAKE, frame
from tests.shared.leaks import memory, open_descriptors

SLOW = 200
QUICK = 300
LIMIT = 1.0
"""Seconds that a client may take here for a head, a piece of a body, or to read."""

MOST_GROWTH = 4 * 1024 * 1024
"""Bytes that a process may grow in a round of clients after the first one."""

HEAD = request(b"GET", b"/hello")
POST = request(b"POST", b"/echo", b"Content-Length: 1000")

BEHAVIOUR: dict[str, bytes] = {
    "say nothing": b"",
    "send half a head": HEAD[:20],
    "send a head and half a field": HEAD[:-2] + b"X-Slow: ",
    "send half a body": POST + b"x" * 500,
    "send half a chunk": request(b"POST", b"/echo", b"Transfer-Encoding: chunked") + b"ff\r\nxx",
    "skip a body that does not come": request(b"POST", b"/early", b"Content-Length: 9"),
    "read nothing": request(b"GET", b"/big/200"),
    "read nothing of many answers": request(b"GET", b"/big/2") * 100,
    "wait for 100-continue": POST[:-2] + b"Expect: 100-continue\r\n\r\n",
}


@contextmanager
def slow_clients(served: Served, first: bytes, number: int = SLOW) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(number)]
        for client in clients:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(first)
        yield clients


def is_over(client: Client) -> bool:
    """Whether the server has closed the connection; reads what has come."""
    client.sock.setblocking(False)
    try:
        while client.sock.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize("name", BEHAVIOUR)
def test_slow_clients_end_in_time_beside_quick_ones(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options: Any = {f"{each}_timeout": LIMIT for each in ("head", "body", "send")}
    with serving(apps.routes, keep_alive=LIMIT, **options) as served:
        with served.connect() as client:
            client.get(b"/hello")
        wait_for(lambda: served.tasks() < 12)
        before = (served.tasks(), len(open_descriptors()))
        with slow_clients(served, BEHAVIOUR[name]) as slow:
            with served.connect() as quick:
                for i in range(QUICK):
                    assert quick.get(b"/name/%d" % i).body == b"/name/%d" % i
            wait_for(lambda: served.tasks() == before[0], 10)
            assert all(is_over(client) for client in slow)
        wait_for(lambda: (served.tasks(), len(open_descriptors())) == before)
        assert left_of(Connection, Exchange) == 0
    assert caplog.records == []


def left_of(*types: type) -> int:
    """How many objects of these types are alive."""
    gc.collect()
    return sum(type(each) in types for each in gc.get_objects())


def test_rounds_of_slow_clients_leave_no_memory_behind() -> None:
    options: Any = {f"{each}_timeout": 0.2 for each in ("head", "body", "send")}
    sizes: list[int] = []
    with serving(apps.routes, keep_alive=0.2, **options) as served:
        before = served.tasks()
        for _ in range(4):
            with ExitStack() as stack:
                for first in BEHAVIOUR.values():
                    stack.enter_context(slow_clients(served, first, 20))
                wait_for(lambda: served.tasks() <= before, 10)
            gc.collect()
            sizes.append(memory())
    assert sizes[3] - sizes[1] < MOST_GROWTH


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system has no limit")
@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_the_system_takes_little_for_a_client_that_reads_nothing(kind: Kind) -> None:
    sent = [0]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps.start(send)
        while True:
            await apps.say(send, b"x" * 65536, more=True)
            sent[0] += 65536

    with serving(app, kind, lifespan="off") as served, served.connect() as client:
        client.send(HEAD)
        wait_for(lambda: sent[0] > 0)
        before = 0
        while sent[0] > before:
            before = sent[0]
            time.sleep(0.3)
    assert sent[0] < 1024 * 1024  # with what its own socket has received


@pytest.mark.parametrize("kind", KINDS)
def test_drops_of_a_head_do_not_buy_time(kind: Kind) -> None:
    options: Any = {"head_timeout": 0.5}
    with serving(apps.routes, kind, **options) as served, slow_clients(served, b"", 40) as slow:
        began = time.monotonic()
        left = list(slow)
        for byte in HEAD[:-1]:
            for client in list(left):
                try:
                    client.sock.settimeout(5)
                    client.send(bytes([byte]))
                except OSError:
                    left.remove(client)
            time.sleep(0.05)
            if not left:
                break
        assert not [client for client in left if not is_over(client)]
        assert time.monotonic() - began < 5


def test_slow_websockets_end_in_time_beside_quick_ones() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await apps.name(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 65536})

    options: Any = {"send_timeout": LIMIT, "lifespan": "off"}
    with serving(app, **options) as served:
        before = served.tasks()
        with slow_clients(served, request(b"GET", b"/", *HANDSHAKE) + frame(1, b"x"), 60) as slow:
            with served.connect() as quick:
                for i in range(QUICK):
                    assert quick.get(b"/name/%d" % i).body == b"/name/%d" % i
            wait_for(lambda: served.tasks() == before, 10)
            assert all(is_over(client) for client in slow)
