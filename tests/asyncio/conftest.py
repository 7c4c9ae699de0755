"""These tests run on mio, each for some seconds at the most. The servers start when first used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import anyio_mio  # noqa: F401 - makes the backend known
from tests.asyncio import servers
from tests.asyncio.random_cancellation import counted, until_no_more_than
from tests.shared.ports import reserved_port


@pytest.fixture
def anyio_backend() -> str:
    return "mio"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a PostgreSQL server."""
    yield from start(servers.postgres, "postgres", "postgresql", tmp_path_factory)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Redis server."""
    yield from start(servers.redis, "redis-server", "redis-server", tmp_path_factory)


@pytest.fixture(scope="session")
def memcached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a memcached server."""
    yield from start(servers.memcached, "memcached", "memcached", tmp_path_factory)


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a broker of MQTT."""
    yield from start(servers.mosquitto, "mosquitto", "mosquitto", tmp_path_factory)


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a NATS server."""
    yield from start(servers.nats, "nats-server", "nats-server", tmp_path_factory)


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a MariaDB server."""
    yield from start(servers.mariadb, "mariadbd", "mariadb-server", tmp_path_factory)


def start(
    server: Callable[[Path, int], AbstractContextManager[None]],
    program: str,
    package: str,
    folders: pytest.TempPathFactory,
) -> Iterator[int]:
    """Run a server; skip the tests that need it if its program is not installed."""
    if servers.find(program) is None:
        pytest.skip(f"there is no {program}: apt install {package}")
    folder = folders.mktemp(program)
    with reserved_port() as port, server(folder, port):
        yield port


@pytest.fixture
async def leaves_nothing() -> AsyncIterator[None]:
    """Fail a test that leaves tasks, descriptors or readers behind."""
    before = counted()
    yield
    await until_no_more_than(before)
