"""redis-py in tasks of mio, with a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from tests.asyncio.random_cancellation import (
    SECONDS,
    cancel_at_random,
    counted,
    skip_the_minute,
    until_no_more_than,
)

aioredis = pytest.importorskip("redis.asyncio", reason="redis-py is not installed")

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(redis: int) -> AsyncIterator[Any]:
    """A client with at most four connections, which wait for a free one."""
    pool = aioredis.BlockingConnectionPool(
        host="127.0.0.1", port=redis, max_connections=4, timeout=10, decode_responses=True
    )
    async with aioredis.Redis(connection_pool=pool) as client:
        await client.flushall()
        yield client
        with anyio.CancelScope(shield=True):
            await pool.disconnect()


async def test_tasks_that_count_at_once_lose_no_count(client: Any) -> None:
    async def count() -> None:
        await client.incr("count")

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(count)

    assert await client.get("count") == "50"


async def test_a_pipeline_answers_in_the_order_of_its_commands(client: Any) -> None:
    async with client.pipeline() as pipeline:
        assert await pipeline.incr("n").incr("n").get("n").execute() == [1, 2, "2"]


async def test_a_subscriber_receives_what_is_published(client: Any) -> None:
    async with client.pubsub() as subscription:
        await subscription.subscribe("news")
        await client.publish("news", "hello")
        with anyio.fail_after(5):
            async for message in subscription.listen():
                if message["type"] == "message":
                    break

    assert message["data"] == "hello"


async def test_a_scope_cancels_a_blocking_command_and_the_client_serves_on(client: Any) -> None:
    with anyio.move_on_after(0.05) as scope:
        await client.blpop("nothing", timeout=60)

    assert scope.cancelled_caught
    assert await client.ping()
    with anyio.fail_after(5):
        while int((await client.info("clients"))["blocked_clients"]):
            await anyio.sleep(0.02)


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.timeout(100)
async def test_the_pool_under_random_cancellation_leaks_nothing(redis: int, seconds: float) -> None:
    skip_the_minute(seconds)
    before = counted()
    pool = aioredis.BlockingConnectionPool(
        host="127.0.0.1", port=redis, max_connections=4, timeout=10, decode_responses=True
    )
    async with aioredis.Redis(connection_pool=pool) as client:

        async def work() -> None:
            async with client.pipeline() as pipeline:
                await pipeline.incr("n").blpop("nothing", timeout=0.001).execute()
            await client.echo("hello")

        await cancel_at_random(work, seconds)
        for number in range(20):
            assert await client.echo(str(number)) == str(number)
        assert int((await client.info("clients"))["connected_clients"]) <= 4
        await pool.disconnect()
    await until_no_more_than(before)
