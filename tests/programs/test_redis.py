"""coredis, a client of Redis that is written on AnyIO, talks on mio to a real server."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
import pytest

import anyio_mio as anyio_mio

coredis = pytest.importorskip("coredis", reason="coredis is not installed")

SERVER = shutil.which("redis-server")
SECONDS = 15

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(SERVER is None, reason="there is no redis-server on PATH"),
]


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Any]:
    """A client of a server that listens on a socket in ``tmp_path`` alone and stores nothing."""
    assert SERVER is not None
    # A path of a UNIX socket is short, and the server runs in its folder: the name is enough.
    options = ["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no"]
    with anyio.fail_after(SECONDS):
        process = await anyio.open_process(
            [SERVER, *options], cwd=tmp_path, stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            path = str(tmp_path / "socket")
            await until_it_listens(path)
            async with coredis.Redis(unix_socket_path=path, decode_responses=True) as client:
                yield client
        finally:
            process.terminate()
            with anyio.CancelScope(shield=True):
                await process.aclose()


async def until_it_listens(path: str) -> None:
    """Tries until a connection succeeds; the fixture bounds it."""
    while True:
        try:
            stream = await anyio.connect_unix(path)
        except OSError:
            await anyio.sleep(0.01)
        else:
            await stream.aclose()
            return


async def test_a_value_that_was_set_is_read_back(redis: Any) -> None:
    await redis.set("name", "mio")

    assert await redis.get("name") == "mio"


async def test_tasks_that_count_at_once_lose_no_count(redis: Any) -> None:
    async def count() -> None:
        await redis.incr("count")

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(count)

    assert await redis.get("count") == "50"


async def test_a_pipeline_answers_in_the_order_of_its_commands(redis: Any) -> None:
    async with redis.pipeline() as pipeline:
        answers = [pipeline.incr("steps") for _ in range(5)]

    assert [await answer for answer in answers] == [1, 2, 3, 4, 5]


async def test_a_subscriber_receives_what_is_published(redis: Any) -> None:
    async with redis.pubsub(channels=["news"]) as subscription:
        await redis.publish("news", "hello")
        async for message in subscription:
            if message["type"] == "message":
                break

    assert message["data"] == "hello"
