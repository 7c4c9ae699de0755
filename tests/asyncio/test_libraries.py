"""aiohttp, aiosqlite, gRPC and uvicorn in tasks of mio, as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.programs.conftest import serve_with_anycorn

pytestmark = pytest.mark.anyio


# aiohttp


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """A server of aiohttp's; yields its URL."""
    web: Any = pytest.importorskip("aiohttp.web", reason="aiohttp is not installed")

    async def hello(request: Any) -> Any:
        return web.Response(text="hello " + request.match_info["name"])

    async def slow(request: Any) -> Any:
        await asyncio.sleep(60)

    async def chat(request: Any) -> Any:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data[::-1])
        return socket

    app = web.Application()
    app.add_routes(
        [web.get("/hello/{name}", hello), web.get("/slow", slow), web.get("/chat", chat)]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = web.TCPSite(runner, "127.0.0.1", 0)
    await listening.start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}"
    with anyio.CancelScope(shield=True):
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[Any]:
    aiohttp: Any = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    async with aiohttp.ClientSession() as session:
        yield session


async def test_aiohttps_client_and_server_serve_many_tasks(site: str, session: Any) -> None:
    answers = []

    async def fetch(name: str) -> None:
        async with session.get(f"{site}/hello/{name}") as response:
            answers.append(await response.text())

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(fetch, str(number))

    assert sorted(answers) == sorted(f"hello {number}" for number in range(20))


async def test_a_scope_cancels_a_request_of_aiohttps_client(site: str, session: Any) -> None:
    with anyio.move_on_after(0.1) as scope:
        await session.get(f"{site}/slow")

    assert scope.cancelled_caught
    async with session.get(f"{site}/hello/mio") as response:
        assert await response.text() == "hello mio"


async def test_aiohttps_own_timeout_works(site: str, session: Any) -> None:
    aiohttp: Any = pytest.importorskip("aiohttp")
    with pytest.raises(TimeoutError):
        await session.get(f"{site}/slow", timeout=aiohttp.ClientTimeout(total=0.1))


async def test_a_websocket_of_aiohttps(site: str, session: Any) -> None:
    async with session.ws_connect(f"{site}/chat") as socket:
        await socket.send_str("hello")
        assert (await socket.receive()).data == "olleh"


async def test_a_client_of_mios_talks_to_a_server_of_aiohttps(site: str) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{site}/hello/mio")).text == "hello mio"


# aiosqlite


async def test_aiosqlite_serves_many_tasks_and_can_be_cancelled(tmp_path: Path) -> None:
    aiosqlite: Any = pytest.importorskip("aiosqlite", reason="aiosqlite is not installed")
    async with aiosqlite.connect(tmp_path / "base") as base:
        await base.execute("create table numbers (n int)")

        async def insert(number: int) -> None:
            await base.execute("insert into numbers values (?)", (number,))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(insert, number)
        many = "with recursive c(x) as (select 1 union all select x + 1 from c limit 3000000) "
        with anyio.move_on_after(0.01) as scope:
            await base.execute_fetchall(many + "select sum(x) from c")
        async with base.execute("select count(*) from numbers") as cursor:
            assert await cursor.fetchone() == (20,)

    assert scope.cancelled_caught


# gRPC


async def test_grpcs_server_and_channel() -> None:
    grpc: Any = pytest.importorskip("grpc", reason="grpcio is not installed")
    grpc_aio: Any = pytest.importorskip("grpc.aio", reason="grpcio is not installed")

    async def reverse(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(60 if request == b"slow" else 0)
        return request[::-1]

    handler = grpc.unary_unary_rpc_method_handler(reverse)
    server = grpc_aio.server()
    handlers = grpc.method_handlers_generic_handler("test", {"reverse": handler})
    server.add_generic_rpc_handlers([handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    answers = []
    async with grpc_aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test/reverse")

        async def ask(text: bytes) -> None:
            answers.append(await call(text))

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(ask, (b"%02d" % number)[::-1])
        with anyio.move_on_after(0.1) as scope:
            await ask(b"slow")
        await ask(b"ab")
    await server.stop(None)

    assert scope.cancelled_caught
    assert sorted(answers) == sorted([b"%02d" % number for number in range(10)] + [b"ba"])


# ASGI


async def test_a_starlette_application_on_asyncpg_under_anycorn(postgres: int) -> None:
    asyncpg: Any = pytest.importorskip("asyncpg", reason="asyncpg is not installed")

    async def double(request: Request) -> Response:
        number = int(request.path_params["number"])
        return JSONResponse(await pool.fetchval("select $1::int * 2", number))

    address = {"host": "127.0.0.1", "port": postgres, "user": "postgres", "database": "postgres"}
    app = Starlette(routes=[Route("/{number}", double)])
    answers = []
    async with (
        asyncpg.create_pool(**address, min_size=1, max_size=3) as pool,
        serve_with_anycorn(app) as url,
        httpx.AsyncClient() as client,
    ):

        async def ask(number: int) -> None:
            answers.append((await client.get(f"{url}/{number}")).json())

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(ask, number)

    assert sorted(answers) == [2 * number for number in range(20)]


async def test_uvicorn_serves_inside_a_run_of_mio() -> None:
    uvicorn: Any = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

    async def hello(request: Request) -> Response:
        await anyio.sleep(0.001)
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", hello)])
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    answers: list[str] = []
    async with anyio.create_task_group() as group:
        group.start_soon(without_signals(server))
        while not server.started:
            await anyio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient() as client, anyio.create_task_group() as requests:
            for _ in range(10):
                requests.start_soon(partial(fetch, client, f"http://127.0.0.1:{port}/", answers))
        server.should_exit = True

    assert answers == ["hello"] * 10


async def fetch(client: httpx.AsyncClient, url: str, answers: list[str]) -> None:
    answers.append((await client.get(url)).text)


def without_signals(server: Any) -> Callable[[], Coroutine[Any, Any, None]]:
    """Serve as a part of a program, whose signals are not uvicorn's."""
    return server._serve  # type: ignore[no-any-return]
