"""asyncpg, SQLAlchemy and psycopg in tasks of mio, with a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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

asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed")
psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
psycopg_pool = pytest.importorskip("psycopg_pool", reason="psycopg-pool is not installed")
sqlalchemy = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
aio = pytest.importorskip("sqlalchemy.ext.asyncio", reason="SQLAlchemy is not installed")

pytestmark = pytest.mark.anyio

SLEEPING = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'"


@pytest.fixture
async def pool(postgres: int) -> AsyncIterator[Any]:
    """Four connections at the most, by asyncpg."""
    address = {"host": "127.0.0.1", "port": postgres, "user": "postgres", "database": "postgres"}
    async with asyncpg.create_pool(**address, min_size=1, max_size=4) as pool:
        yield pool


@pytest.fixture
async def engine(postgres: int) -> AsyncIterator[Any]:
    """SQLAlchemy's engine on asyncpg."""
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{postgres}/postgres"
    engine = aio.create_async_engine(url, pool_size=4, max_overflow=0)
    yield engine
    with anyio.CancelScope(shield=True):
        await engine.dispose()


def dsn(port: int) -> str:
    return f"host=127.0.0.1 port={port} user=postgres dbname=postgres"


async def until_it_is_zero(pool: Any, query: str) -> None:
    with anyio.fail_after(5):
        while await pool.fetchval(query):
            await anyio.sleep(0.02)


async def test_queries_of_many_tasks_share_a_pool(pool: Any) -> None:
    results = []

    async def query(number: int) -> None:
        results.append(await pool.fetchval("select $1::int + 1", number))

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(query, number)

    assert sorted(results) == list(range(1, 51))


async def test_a_transaction_that_raises_is_rolled_back(pool: Any) -> None:
    async with pool.acquire() as connection:
        await connection.execute("create temp table numbers (n int)")

        async def fail() -> None:
            async with connection.transaction():
                await connection.execute("insert into numbers values (1)")
                await connection.execute("select 1 / 0")

        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
        assert await connection.fetchval("select count(*) from numbers") == 0


async def test_a_cursor_is_iterated(pool: Any) -> None:
    async with pool.acquire() as connection, connection.transaction():
        found = [row["n"] async for row in connection.cursor("select generate_series(1, 100) n")]

    assert found == list(range(1, 101))


async def test_a_scope_that_cancels_a_query_ends_it_in_the_server(pool: Any) -> None:
    with anyio.move_on_after(0.1) as scope:
        await pool.fetchval("select pg_sleep(60)")

    assert scope.cancelled_caught
    assert await pool.fetchval("select 1") == 1
    await until_it_is_zero(pool, SLEEPING)


async def test_asyncpgs_own_timeout_works(pool: Any) -> None:
    with pytest.raises(TimeoutError):
        await pool.fetchval("select pg_sleep(60)", timeout=0.05)

    assert await pool.fetchval("select 1") == 1


async def test_a_cancelled_task_that_waits_for_a_connection_takes_none(pool: Any) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(pool.fetchval, "select pg_sleep(0.2)")
        await anyio.sleep(0.05)
        with anyio.move_on_after(0.05) as scope:
            await pool.fetchval("select 1")

    assert scope.cancelled_caught
    assert await pool.fetchval("select 1") == 1


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.timeout(100)
async def test_a_pool_under_random_cancellation_leaks_nothing(
    postgres: int, seconds: float
) -> None:
    skip_the_minute(seconds)
    before = counted()
    address = {"host": "127.0.0.1", "port": postgres, "user": "postgres", "database": "postgres"}
    async with asyncpg.create_pool(**address, min_size=1, max_size=4) as pool:

        async def work() -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.fetchval("select pg_sleep(0.005)")
                await connection.fetchval("select 1")

        await cancel_at_random(work, seconds)
        await until_asyncs_tasks_have_ended()  # the requests to cancel, which asyncpg sends beside
        await pool_serves_on(pool)
    await until_no_more_than(before)


async def until_asyncs_tasks_have_ended() -> None:
    with anyio.fail_after(10):
        while asyncio.all_tasks():
            await anyio.sleep(0.02)


async def pool_serves_on(pool: Any) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(pool.fetchval, "select 1")
    assert pool.get_size() <= 4
    assert pool.get_idle_size() == pool.get_size()
    here = "select count(*) from pg_stat_activity where pid <> pg_backend_pid() and backend_type"
    assert await pool.fetchval(f"{here} = 'client backend'") <= 4


async def test_sqlalchemys_sessions_of_many_tasks(engine: Any) -> None:
    results = []

    async def query(number: int) -> None:
        async with aio.AsyncSession(engine) as session:
            statement = sqlalchemy.select(sqlalchemy.literal(number) + 1)
            results.append((await session.execute(statement)).scalar_one())

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(query, number)

    assert sorted(results) == list(range(1, 21))


async def test_sqlalchemys_session_is_cancelled_and_its_pool_serves_on(engine: Any) -> None:
    with anyio.move_on_after(0.1) as scope:
        async with aio.AsyncSession(engine) as session:
            await session.execute(sqlalchemy.text("select pg_sleep(60)"))

    assert scope.cancelled_caught
    async with engine.connect() as connection:
        assert (await connection.execute(sqlalchemy.text("select 1"))).scalar_one() == 1
    assert engine.pool.checkedout() == 0


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.timeout(100)
async def test_sqlalchemys_pool_under_random_cancellation_leaks_nothing(
    postgres: int, seconds: float
) -> None:
    skip_the_minute(seconds)
    before = counted()
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{postgres}/postgres"
    engine = aio.create_async_engine(url, pool_size=4, max_overflow=0)

    async def work() -> None:
        async with engine.begin() as connection:
            await connection.execute(sqlalchemy.text("select pg_sleep(0.005)"))

    await cancel_at_random(work, seconds)
    await until_asyncs_tasks_have_ended()
    assert engine.pool.checkedout() == 0
    await engine.dispose()
    await until_no_more_than(before)


async def test_psycopgs_connections_of_many_tasks(postgres: int) -> None:
    results = []

    pool = psycopg_pool.AsyncConnectionPool(dsn(postgres), min_size=1, max_size=4, open=False)
    async with pool:

        async def query(number: int) -> None:
            async with pool.connection() as connection:
                cursor = await connection.execute("select %s::int + 1", [number])
                results.append((await cursor.fetchone())[0])

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(query, number)

    assert sorted(results) == list(range(1, 21))


async def test_a_scope_that_cancels_psycopgs_query_ends_it_in_the_server(
    postgres: int, pool: Any
) -> None:
    own = psycopg_pool.AsyncConnectionPool(dsn(postgres), min_size=1, max_size=1, open=False)
    async with own:
        with anyio.move_on_after(0.2) as scope:
            async with own.connection() as connection:
                await connection.execute("select pg_sleep(60)")

        assert scope.cancelled_caught
        async with own.connection() as connection:
            cursor = await connection.execute("select 1")
            assert await cursor.fetchone() == (1,)
    await until_it_is_zero(pool, SLEEPING)


@asynccontextmanager
async def connection_of(pool: Any) -> AsyncIterator[Any]:
    """Take a connection of psycopg's pool as the guide on asyncio libraries does."""
    connection = await pool.getconn()
    try:
        async with connection:
            yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await pool.putconn(connection)


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.timeout(100)
async def test_psycopgs_pool_under_random_cancellation_leaks_nothing(
    postgres: int, seconds: float
) -> None:
    skip_the_minute(seconds)
    before = counted()
    async with one_size_pool(postgres, 4) as pool:

        async def work() -> None:
            async with connection_of(pool) as connection:
                await connection.execute("select pg_sleep(0.005)")
                await connection.execute("select 1")

        await cancel_at_random(work, seconds, scopes_alone=True)  # no shield stops the others
        async with pool.connection() as connection:
            cursor = await connection.execute("select 1")
            assert await cursor.fetchone() == (1,)
        await until_available(pool, 4)  # what comes back after the pool has closed is not closed
        assert pool.get_stats()["pool_size"] == 4
    await until_no_more_than(before)


def one_size_pool(port: int, size: int, **options: Any) -> Any:
    """Make a pool of psycopg's with so many connections, neither more nor less."""
    return psycopg_pool.AsyncConnectionPool(
        dsn(port), min_size=size, max_size=size, open=False, **options
    )


async def do_nothing(connection: Any) -> None:
    """Reset nothing: a pool that resets takes its connections back in a task of its own."""


async def until_available(pool: Any, size: int) -> None:
    with anyio.fail_after(10):  # a connection that was given up is replaced beside
        while pool.get_stats()["pool_available"] < size:
            await anyio.sleep(0.02)


async def free_after_a_cancelled_return(port: int, use: Any, **options: Any) -> int:
    """Cancel a scope while its connection waits to be returned; return how many are free then.

    Args:
        port: the server's.
        use: takes a connection of the pool, by ``async with use(pool)``.
        **options: the pool's.
    """
    async with one_size_pool(port, 1, **options) as pool:
        await pool.wait()
        async with anyio.create_task_group() as group:
            with anyio.move_on_after(0.05):
                async with use(pool):
                    await pool._lock.acquire()  # as another task would that takes one
                    group.start_soon(release_later, pool._lock)
        with anyio.move_on_after(0.5):
            await until_available(pool, 1)
        return int(pool.get_stats()["pool_available"])


async def release_later(lock: asyncio.Lock) -> None:
    await anyio.sleep(0.1)
    lock.release()


def by_its_own_manager(pool: Any) -> Any:
    return pool.connection()


async def test_a_cancelled_return_behind_a_shield_loses_no_connection(postgres: int) -> None:
    assert await free_after_a_cancelled_return(postgres, connection_of) == 1


async def test_a_cancelled_return_to_a_pool_that_resets_loses_no_connection(postgres: int) -> None:
    free = await free_after_a_cancelled_return(postgres, by_its_own_manager, reset=do_nothing)

    assert free == 1


def test_a_cancelled_return_to_a_pool_of_psycopgs_ends_as_on_asyncio(postgres: int) -> None:
    free = [
        anyio.run(free_after_a_cancelled_return, postgres, by_its_own_manager, backend=backend)
        for backend in ("asyncio", "mio")
    ]

    assert free[0] == free[1]
