"""Frameworks as their users write them: FastAPI, Starlette, Litestar, MCP, Quart and Django."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
import litestar
import pytest
from fastapi import BackgroundTasks, FastAPI, UploadFile, WebSocket
from fastapi.responses import StreamingResponse
from litestar.response import Stream
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.sync.client import connect

import anyio_mio
from tests.asgi.served import Served, serving

done = threading.Event()
api = FastAPI()


@api.get("/items/{number}")
async def read_item(number: int, q: str = "") -> dict[str, Any]:
    return {"number": number, "q": q}


@api.get("/sync")
def in_a_thread() -> dict[str, bool]:
    return {"is_main": threading.current_thread() is threading.main_thread()}


@api.get("/background")
async def background(tasks: BackgroundTasks) -> dict[str, bool]:
    tasks.add_task(done.set)
    return {"accepted": True}


@api.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces() -> Any:
        for i in range(5):
            yield f"{i}\n"
            await anyio.sleep(0.01)

    return StreamingResponse(pieces())


@api.post("/upload")
async def upload(file: UploadFile) -> dict[str, int]:
    return {"size": len(await file.read())}


@api.websocket("/ws")
async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_json({"echo": text})


@contextmanager
def client_of(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(api) as served:
        yield served


def test_fastapi_answers_and_validates(served: Served) -> None:
    with client_of(served) as client:
        assert client.get("/items/3?q=x").json() == {"number": 3, "q": "x"}
        assert client.get("/items/three").status_code == 422
        assert client.get("/sync").json() == {"is_main": False}
        assert client.get("/openapi.json").status_code == 200


def test_fastapi_runs_background_tasks_after_the_answer(served: Served) -> None:
    with client_of(served) as client:
        assert client.get("/background").json() == {"accepted": True}
        assert done.wait(5)


def test_fastapi_streams_and_takes_uploads(served: Served) -> None:
    with client_of(served) as client:
        assert client.get("/stream").text == "0\n1\n2\n3\n4\n"
        files = {"file": b"x" * 500_000}
        assert client.post("/upload", files=files).json() == {"size": 500_000}


def test_fastapi_talks_over_a_websocket(served: Served) -> None:
    with connect(f"ws://127.0.0.1:{served.port}/ws", proxy=None) as websocket:
        for text in ("one", "two"):
            websocket.send(text)
            assert websocket.recv(5) == f'{{"echo":"{text}"}}'


def test_the_mcp_sdk_serves_its_tools_over_streamable_http() -> None:
    server = MCPServer("test")

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    async def main(url: str) -> str:
        async with (
            streamable_http_client(url) as streams,
            ClientSession(streams[0], streams[1]) as session,
        ):
            await session.initialize()
            result = await session.call_tool("add", {"a": 2, "b": 3})
            content: Any = result.content[0]
            return str(content.text)

    with serving(server.streamable_http_app()) as served:
        url = f"http://127.0.0.1:{served.port}/mcp"
        assert anyio_mio.run(main, url) == "5"


def test_a_task_of_asyncio_may_send_and_receive() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def answer() -> None:
            message = await receive()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": message["body"]})

        await asyncio.create_task(answer())

    with serving(app, lifespan="off") as served, client_of(served) as client:
        for body in (b"one", b"two"):
            assert client.post("/", content=body).content == body


def test_litestar_is_served() -> None:
    events: list[str] = []

    @litestar.get("/items/{number:int}")
    async def item(request: litestar.Request[Any, Any, Any]) -> dict[str, int]:
        return {"number": request.path_params["number"]}

    @litestar.post("/upload", media_type="text/plain")
    async def upload(request: litestar.Request[Any, Any, Any]) -> str:
        return str(len(await request.body()))

    @litestar.get("/stream")
    async def stream() -> Stream:
        return Stream(iter(["one ", "two"]))

    @litestar.websocket_listener("/ws")
    async def ws(data: str) -> str:
        return data.upper()

    app = litestar.Litestar(
        [item, upload, stream, ws],
        logging_config=None,  # it would configure the root logger of the process
        on_startup=[lambda: events.append("startup")],
        on_shutdown=[lambda: events.append("shutdown")],
    )
    with serving(app, lifespan="on") as served:
        with client_of(served) as client:
            assert client.get("/items/3").json() == {"number": 3}
            assert client.get("/items/three").status_code == 404
            assert client.post("/upload", content=b"x" * 300_000).text == "300000"
            assert client.get("/stream").text == "one two"
        with connect(f"ws://127.0.0.1:{served.port}/ws", proxy=None) as websocket:
            websocket.send("hello")
            assert websocket.recv(5) == "HELLO"
    assert events == ["startup", "shutdown"]


def test_quart_is_served() -> None:
    quart: Any = pytest.importorskip("quart")
    app: Any = quart.Quart("test")

    @app.post("/echo")  # type: ignore[untyped-decorator]
    async def echo() -> Any:
        return await quart.request.get_data()

    @app.websocket("/ws")  # type: ignore[untyped-decorator]
    async def ws() -> None:
        await quart.websocket.send("hello")

    with serving(app) as served:
        with client_of(served) as client:
            assert client.post("/echo", content=b"quart").content == b"quart"
        with connect(f"ws://127.0.0.1:{served.port}/ws", proxy=None) as websocket:
            assert websocket.recv(5) == "hello"


def test_django_is_served() -> None:
    django = pytest.importorskip("django")
    settings = pytest.importorskip("django.conf").settings
    get_asgi_application = pytest.importorskip("django.core.asgi").get_asgi_application
    HttpResponse = pytest.importorskip("django.http").HttpResponse
    path = pytest.importorskip("django.urls").path

    async def hello(request: Any) -> Any:
        await asyncio.sleep(0)
        return HttpResponse(b"async " + request.body)

    def plain(request: Any) -> Any:
        return HttpResponse(b"sync")

    urls = [path("async", hello), path("sync", plain)]
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=type("urls", (), {"urlpatterns": urls}), ALLOWED_HOSTS=["*"], DEBUG=True
        )
        django.setup()
    with serving(get_asgi_application()) as served, client_of(served) as client:
        assert client.get("/async").content == b"async "
        assert client.post("/async", content=b"body").content == b"async body"
        assert client.get("/sync").content == b"sync"


def test_a_failure_below_starlettes_middleware_does_not_end_the_connection() -> None:
    # The middleware raises a member of an exception group, whose context is the group.
    class Timing(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            return await call_next(request)

    async def fail(request: Any) -> None:
        raise RuntimeError

    routes = [Route("/fail", fail), Route("/fine", lambda request: PlainTextResponse("fine"))]
    middleware = [Middleware(GZipMiddleware), Middleware(Timing)]
    with serving(Starlette(routes=routes, middleware=middleware)) as served:
        with served.connect() as client:
            assert client.get(b"/fail").status == 500
            assert client.get(b"/fine").body == b"fine"
        served.tell_to_stop()
        assert served.summary.result(5).failed == 0
