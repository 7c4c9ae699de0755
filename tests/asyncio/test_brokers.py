"""Clients of databases, caches and message brokers in tasks of mio, with real servers."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.asyncio.concurrent_use import at_once, cancel

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("leaves_nothing")]

SLEEPING = "select count(*) from information_schema.processlist where info like 'select sleep(60)'"


# MySQL


@pytest.mark.parametrize("name", ["aiomysql", "asyncmy"])
@pytest.mark.timeout(60)  # a database is made first
async def test_a_pool_of_mysql_serves_many_tasks_and_survives_cancellation(
    mariadb: int, name: str
) -> None:
    driver = pytest.importorskip(name, reason=f"{name} is not installed")
    options = {"host": "127.0.0.1", "port": mariadb, "user": "root", "minsize": 1, "maxsize": 4}
    async with driver.create_pool(**options) as pool:

        async def fetch(query: str) -> Any:
            async with pool.acquire() as connection, connection.cursor() as cursor:
                await cursor.execute(query)
                return (await cursor.fetchone())[0]

        assert await at_once(lambda n: fetch(f"select {n}"), 20) == [*range(20)]
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(fetch, "select sleep(60)")
            with anyio.fail_after(5):
                while await count_sleeping(driver, options) < 4:
                    await anyio.sleep(0.02)
            group.cancel_scope.cancel()
        assert await at_once(lambda n: fetch(f"select {n}"), 20) == [*range(20)]


async def count_sleeping(driver: Any, options: dict[str, Any]) -> int:
    """Count the queries that sleep in the server, over a connection of its own."""
    sizes = {"minsize", "maxsize"}
    own = await driver.connect(**{key: options[key] for key in options.keys() - sizes})
    try:
        async with own.cursor() as cursor:
            await cursor.execute(SLEEPING)
            number: int = (await cursor.fetchone())[0]
            return number
    finally:
        own.close()


# NATS


async def test_nats_answers_requests_of_many_tasks_and_survives_cancellation(nats: int) -> None:
    library: Any = pytest.importorskip("nats", reason="nats-py is not installed")
    client = await library.connect(f"nats://127.0.0.1:{nats}")

    async def reverse(message: Any) -> None:
        await message.respond(message.data[::-1])

    async def ask(n: int) -> bytes:
        answer: bytes = (await client.request("reverse", b"%d-" % n, timeout=5)).data
        return answer

    await client.subscribe("reverse", cb=reverse)
    quiet = await client.subscribe("quiet")

    assert await at_once(ask) == [b"-%d" % n for n in range(10)]
    await cancel(lambda: quiet.next_msg(timeout=60))
    await client.publish("quiet", b"a message")
    assert (await quiet.next_msg(timeout=5)).data == b"a message"
    await client.drain()


# MQTT


async def test_mqtt_delivers_to_a_subscriber_after_a_cancelled_wait(mosquitto: int) -> None:
    aiomqtt: Any = pytest.importorskip("aiomqtt", reason="aiomqtt is not installed")
    one, other = aiomqtt.Client("127.0.0.1", mosquitto), aiomqtt.Client("127.0.0.1", mosquitto)
    async with one, other:
        await one.subscribe("news/#")

        async def receive() -> bytes:
            async for message in one.messages:
                payload: bytes = message.payload
                return payload
            raise EOFError

        await cancel(receive)
        await other.publish("news/today", "hello")
        with anyio.fail_after(5):
            assert await receive() == b"hello"


# memcached


async def test_memcached_serves_many_tasks(memcached: int) -> None:
    aiomcache: Any = pytest.importorskip("aiomcache", reason="aiomcache is not installed")
    client = aiomcache.Client("127.0.0.1", memcached, pool_size=3)

    async def store(n: int) -> bytes | None:
        await client.set(b"%d" % n, b"value %d" % n)
        value: bytes | None = await client.get(b"%d" % n)
        return value

    assert await at_once(store, 20) == sorted(b"value %d" % n for n in range(20))
    await client.close()
