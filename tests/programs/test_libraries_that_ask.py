"""Libraries that ask sniffio which library runs, and know two answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

pytestmark = pytest.mark.anyio

Attempt = Callable[[], Awaitable[str]]
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


@pytest.fixture
def attempt() -> Attempt:
    """An async function that fails once."""
    outcomes = [ValueError("the first time"), None]

    async def call() -> str:
        problem = outcomes.pop(0)
        if problem is not None:
            raise problem
        return "ok"

    return call


async def test_tenacity_waits_between_two_attempts(attempt: Attempt) -> None:
    tenacity = pytest.importorskip("tenacity", reason="tenacity is not installed")

    assert await tenacity.retry(wait=tenacity.wait_fixed(0.01))(attempt)() == "ok"


async def test_stamina_waits_between_two_attempts(attempt: Attempt) -> None:
    stamina = pytest.importorskip("stamina", reason="stamina is not installed")

    assert await stamina.retry(on=ValueError, wait_initial=0.01)(attempt)() == "ok"


async def test_litestar_runs_a_synchronous_handler_in_a_thread() -> None:
    litestar = pytest.importorskip("litestar", reason="litestar is not installed")
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")

    def handler() -> str:
        return "ok"

    route = litestar.get("/", sync_to_thread=True)(handler)
    app = litestar.Litestar([route], logging_config=None)
    transport = httpx.ASGITransport(app)

    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/")

    assert response.text == "ok"


async def test_asgi_lifespan_starts_and_stops_an_application() -> None:
    asgi_lifespan = pytest.importorskip("asgi_lifespan", reason="asgi-lifespan is not installed")
    events = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for kind in ("startup", "shutdown"):
            events.append((await receive())["type"])
            await send({"type": f"lifespan.{kind}.complete"})

    async with asgi_lifespan.LifespanManager(app):
        assert events == ["lifespan.startup"]

    assert events == ["lifespan.startup", "lifespan.shutdown"]


async def test_httpx_socks_fetches_through_a_proxy() -> None:
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    httpx_socks = pytest.importorskip("httpx_socks", reason="httpx-socks is not installed")
    wanted = []

    async def proxy(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"\x05\x00")  # SOCKS 5, without a password
            request = await stream.receive()
            wanted.append(request[4:8])
            await stream.send(b"\x05\x00\x00\x01" + bytes(6))  # the connection is made
            await stream.receive()
            await stream.send(RESPONSE)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, proxy)
            transport = httpx_socks.AsyncProxyTransport.from_url(f"socks5://127.0.0.1:{port}")
            async with httpx.AsyncClient(transport=transport) as client:
                response = await client.get("http://192.0.2.1/")
            group.cancel_scope.cancel()

    assert response.text == "hello"
    assert wanted == [bytes([192, 0, 2, 1])]


class NameServer(asyncio.DatagramProtocol):
    """Answers each question with 192.0.2.1, unless it is silent."""

    transport: asyncio.DatagramTransport
    is_silent = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if self.is_silent:
            return
        question = data[12 : data.index(b"\0", 12) + 5]
        header = data[:2] + b"\x81\x80" + b"\0\1\0\1\0\0\0\0"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 1])
        self.transport.sendto(header + question + answer, address)


async def test_dnspython_resolves_names() -> None:
    resolvers = pytest.importorskip("dns.asyncresolver", reason="dnspython is not installed")
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    resolver = resolvers.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = server.get_extra_info("sockname")[1]

    answer = await resolver.resolve("mio.example", "A")

    server.close()
    assert [each.to_text() for each in answer] == ["192.0.2.1"]
