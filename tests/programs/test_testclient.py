"""Starlette's TestClient runs an application on mio, in a thread of its own, by the name alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from sniffio import current_async_library

import anyio_mio as anyio_mio

pytest.importorskip("starlette")
pytest.importorskip("httpx")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket


async def who(request: Request) -> Response:
    return PlainTextResponse(current_async_library())


async def thread(request: Request) -> Response:
    def work() -> str:
        return anyio.from_thread.run_sync(current_async_library)

    return PlainTextResponse(await anyio.to_thread.run_sync(work))


async def broken(request: Request) -> Response:
    raise LookupError("on purpose")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def steps(request: Request) -> Response:
    return JSONResponse(request.app.state.steps)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.steps = [f"started on {current_async_library()}"]
    yield
    app.state.steps.append("ended")


@pytest.fixture
def app() -> Any:
    routes = [Route("/who", who), Route("/thread", thread), Route("/broken", broken)]
    return Starlette(
        routes=[*routes, Route("/steps", steps), WebSocketRoute("/echo", echo)], lifespan=lifespan
    )


def client_on_mio(app: Any) -> TestClient:
    """Starlette's annotation knows AnyIO's own two backends; what runs takes any name."""
    backend: Any = "mio"
    return TestClient(app, backend=backend)


@pytest.fixture
def client(app: Any) -> Iterator[TestClient]:
    with client_on_mio(app) as client:
        yield client


def test_a_request_is_answered_on_mio(client: TestClient) -> None:
    assert client.get("/who").text == "mio"


def test_a_client_that_was_not_entered_starts_mio_for_each_request(app: Any) -> None:
    client = client_on_mio(app)

    assert [client.get("/who").text for _ in range(2)] == ["mio", "mio"]


def test_the_lifespan_begins_before_the_first_request_and_ends_with_the_client(app: Any) -> None:
    with client_on_mio(app) as client:
        during = client.get("/steps").json()

    assert during == ["started on mio"]
    assert app.state.steps == ["started on mio", "ended"]


def test_a_worker_thread_of_a_request_comes_back_to_mio(client: TestClient) -> None:
    assert client.get("/thread").text == "mio"


def test_what_the_application_raises_reaches_the_test(client: TestClient) -> None:
    with pytest.raises(LookupError, match="on purpose"):
        client.get("/broken")


def test_a_websocket_echoes_through_the_test_client(client: TestClient) -> None:
    with client.websocket_connect("/echo") as websocket:
        websocket.send_text("one")
        first = websocket.receive_text()
        websocket.send_text("two")
        second = websocket.receive_text()

    assert (first, second) == ("one", "two")
