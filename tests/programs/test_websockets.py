"""WebSockets on mio: httpx-ws and bare wsproto as clients, anycorn and ASGI as servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from tests.programs.conftest import Serving, address_of

pytest.importorskip("anycorn", reason="anycorn is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("starlette", reason="starlette is not installed")

import httpx

from tests.programs.routes import app

pytestmark = pytest.mark.anyio


@pytest.fixture
async def url(serving: Serving) -> AsyncIterator[str]:
    async with serving(app) as url:
        yield url


async def test_httpx_ws_sends_and_receives_in_two_tasks(url: str) -> None:
    httpx_ws = pytest.importorskip("httpx_ws", reason="httpx-ws is not installed")
    sent = [f"{number} " + "x" * 1000 for number in range(200)]

    async def send(websocket: Any) -> None:
        for text in sent:
            await websocket.send_text(text)

    async with (
        httpx.AsyncClient(base_url=url, verify=False) as client,
        httpx_ws.aconnect_ws("/echo", client) as websocket,
        anyio.create_task_group() as group,
    ):
        group.start_soon(send, websocket)
        received = [await websocket.receive_text() for _ in sent]

    assert received == sent


async def test_httpx_ws_pings_while_nothing_is_sent(url: str) -> None:
    httpx_ws = pytest.importorskip("httpx_ws", reason="httpx-ws is not installed")

    async with (
        httpx.AsyncClient(base_url=url, verify=False) as client,
        httpx_ws.aconnect_ws("/echo", client) as websocket,
    ):
        answered = await websocket.ping()
        with anyio.fail_after(5):
            await answered.wait()

    assert answered.is_set()


async def test_httpx_ws_talks_to_an_application_without_a_socket() -> None:
    httpx_ws = pytest.importorskip("httpx_ws", reason="httpx-ws is not installed")
    transport_module = pytest.importorskip("httpx_ws.transport")

    async with (
        transport_module.ASGIWebSocketTransport(app) as transport,
        httpx.AsyncClient(base_url="http://test", transport=transport) as client,
        httpx_ws.aconnect_ws("http://test/echo", client) as websocket,
    ):
        await websocket.send_text("hello")
        received = await websocket.receive_text()

    assert received == "hello"


async def test_wsproto_speaks_over_a_bare_stream(url: str) -> None:
    wsproto = pytest.importorskip("wsproto", reason="wsproto is not installed")
    events = pytest.importorskip("wsproto.events")
    connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    received: list[Any] = []

    async with await anyio.connect_tcp(*address_of(url)) as stream:
        await stream.send(connection.send(events.Request(host="test", target="/echo")))
        while not received or not isinstance(received[-1], events.CloseConnection):
            connection.receive_data(await stream.receive())
            for event in connection.events():
                received.append(event)
                if isinstance(event, events.AcceptConnection):
                    await stream.send(connection.send(events.TextMessage(data="hello")))
                elif isinstance(event, events.TextMessage):
                    await stream.send(connection.send(events.CloseConnection(code=1000)))

    kinds = [type(event).__name__ for event in received]
    assert kinds == ["AcceptConnection", "TextMessage", "CloseConnection"]
