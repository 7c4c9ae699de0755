"""What a library leaves behind when it is cancelled: nothing runs on, and it serves on (A2)."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import anyio_mio.asgi
from tests.asyncio.random_cancellation import (
    SECONDS,
    cancel_at_random,
    counted,
    skip_the_minute,
    until_no_more_than,
)
from tests.programs.conftest import serve_with_anycorn

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A2")]

SLEEPING = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'"
Serve = Callable[[Any], AbstractAsyncContextManager[str]]


async def until(is_true: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(5):
        while not is_true():
            await anyio.sleep(0.01)


# aiohttp


class Site:
    """A server of aiohttp's that counts the handlers that run, and how they ended.

    Attributes:
        url: where it listens.
        running: how many slow handlers run.
        cancelled: how many of them were cancelled.
    """

    url = ""
    running = 0
    cancelled = 0

    async def slow(self, request: Any) -> Any:
        self.running += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


@asynccontextmanager
async def aiohttp_site(site: Site) -> AsyncIterator[str]:
    """Run a server of aiohttp's, which cancels the handler of a client that goes away."""
    web: Any = pytest.importorskip("aiohttp.web", reason="aiohttp is not installed")

    async def quick(request: Any) -> Any:
        await asyncio.sleep(0.002)
        return web.Response(text="hello")

    app = web.Application()
    app.add_routes([web.get("/quick", quick), web.get("/slow", site.slow)])
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        site.url = f"http://{host}:{port}"
        yield site.url
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


async def test_the_server_sees_that_a_request_of_aiohttps_client_was_cancelled() -> None:
    aiohttp: Any = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    site = Site()
    async with aiohttp_site(site) as url, aiohttp.ClientSession() as session:
        with anyio.move_on_after(0.1) as scope:
            await session.get(f"{url}/slow")

        await until(lambda: site.cancelled == 1)
        assert scope.cancelled_caught
        async with session.get(f"{url}/quick") as response:
            assert await response.text() == "hello"


async def test_a_server_of_aiohttps_in_a_cancelled_scope_ends_its_handlers() -> None:
    aiohttp: Any = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    before = counted()
    site = Site()

    async def serve() -> None:
        async with aiohttp_site(site):
            await asyncio.Event().wait()

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"{site.url}/slow")

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as server:
                server.start_soon(serve)
                await until(lambda: site.url)
                group.start_soon(ask)
                await until(lambda: site.running)
                scope.cancel()

    assert site.running == 0
    await until_no_more_than(before)


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.timeout(100)
async def test_a_session_of_aiohttps_under_random_cancellation_leaks_nothing(
    seconds: float,
) -> None:
    aiohttp: Any = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    skip_the_minute(seconds)
    before = counted()
    connector = aiohttp.TCPConnector(limit=4)
    async with aiohttp_site(Site()) as url, aiohttp.ClientSession(connector=connector) as session:

        async def work() -> None:
            async with session.get(f"{url}/quick") as response:
                assert await response.text() == "hello"

        await cancel_at_random(work, seconds)
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(work)
        assert not connector._acquired
    await until_no_more_than(before)


# aiosqlite


# A connect() that is cancelled leaves sqlite3's connection to its finalizer, on every loop.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.timeout(100)
async def test_connections_of_aiosqlite_under_random_cancellation_leak_nothing(
    tmp_path: Path, seconds: float
) -> None:
    aiosqlite: Any = pytest.importorskip("aiosqlite", reason="aiosqlite is not installed")
    skip_the_minute(seconds)
    before, threads = counted(), threading.active_count()
    async with aiosqlite.connect(tmp_path / "base") as base:
        await base.execute("create table numbers (n int)")

        async def work() -> None:
            await base.execute("insert into numbers values (1)")
            await base.commit()
            async with aiosqlite.connect(":memory:") as own, own.execute("select 1") as cursor:
                assert await cursor.fetchone() == (1,)

        counts = await cancel_at_random(work, seconds)
        async with base.execute("select count(*) from numbers") as cursor:
            [written] = await cursor.fetchone()
    await until_no_more_than(before)
    await until(lambda: threading.active_count() <= threads)
    gc.collect()  # such connections, while their warning is ignored
    assert written >= counts["done"]


# gRPC


async def test_a_cancelled_call_of_grpcs_ends_the_servers_handler() -> None:
    grpc: Any = pytest.importorskip("grpc", reason="grpcio is not installed")
    grpc_aio: Any = pytest.importorskip("grpc.aio", reason="grpcio is not installed")
    ended: list[str] = []

    async def sleep(request: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(60 if request == b"slow" else 0)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return request

    handler = grpc.unary_unary_rpc_method_handler(sleep)
    server = grpc_aio.server()
    handlers = grpc.method_handlers_generic_handler("test", {"sleep": handler})
    server.add_generic_rpc_handlers([handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc_aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test/sleep")
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(call_for_a_moment, call)

        await until(lambda: len(ended) == 3)
        assert await call(b"quick") == b"quick"
    await server.stop(None)


async def call_for_a_moment(call: Any) -> None:
    with anyio.move_on_after(0.1) as scope:
        await call(b"slow")
    assert scope.cancelled_caught


# ASGI


@asynccontextmanager
async def serve_with_mio(app: Any) -> AsyncIterator[str]:
    """Serve an application by mio's own server."""
    async with anyio.create_task_group() as group:
        serve = partial(anyio_mio.asgi.serve, app, host="127.0.0.1", port=0)
        [listener] = await group.start(serve)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        group.cancel_scope.cancel()


@asynccontextmanager
async def serve_with_uvicorn(app: Any) -> AsyncIterator[str]:
    """Serve an application by uvicorn, as a part of this program."""
    uvicorn: Any = pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    options = {"log_level": "critical", "lifespan": "off", "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(app, port=0, **options))
    async with anyio.create_task_group() as group:
        group.start_soon(server._serve)  # serve() would take the signals of the program
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True


@pytest.mark.parametrize("serve", [serve_with_anycorn, serve_with_mio, serve_with_uvicorn])
async def test_a_query_ends_in_the_server_when_a_starlette_applications_time_is_up(
    postgres: int, serve: Serve
) -> None:
    asyncpg: Any = pytest.importorskip("asyncpg", reason="asyncpg is not installed")

    async def ask(request: Request) -> Response:
        with anyio.move_on_after(0.2):
            await pool.fetchval(f"select pg_sleep({request.path_params['seconds']})")
            return PlainTextResponse("done")
        return PlainTextResponse("too late", 504)

    address = {"host": "127.0.0.1", "port": postgres, "user": "postgres", "database": "postgres"}
    app = Starlette(routes=[Route("/{seconds}", ask)])
    statuses: list[int] = []
    async with (
        asyncpg.create_pool(**address, min_size=1, max_size=3) as pool,
        serve(app) as url,
        httpx.AsyncClient() as client,
    ):

        async def get(seconds: int) -> None:
            statuses.append((await client.get(f"{url}/{seconds}", timeout=10)).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(get, 60)
        await get(0)
        with anyio.fail_after(5):
            while await pool.fetchval(SLEEPING):
                await anyio.sleep(0.02)
        assert pool.get_idle_size() == pool.get_size()

    assert statuses == [504, 504, 504, 200]
