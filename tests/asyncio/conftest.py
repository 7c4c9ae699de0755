"""These tests run on mio, each for some seconds at the most. The servers start when first used."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

import anyio_mio  # noqa: F401 - makes the backend known
from tests.asyncio import servers
from tests.shared.ports import reserved_port


@pytest.fixture
def anyio_backend() -> str:
    return "mio"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a PostgreSQL server."""
    if servers.program("postgres") is None:
        pytest.skip("there is no postgres: apt install postgresql")
    folder = tmp_path_factory.mktemp("postgres")
    with reserved_port() as port, servers.postgres(folder, port):
        yield port


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Redis server."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server: apt install redis-server")
    folder = tmp_path_factory.mktemp("redis")
    with reserved_port() as port, servers.redis(folder, port):
        yield port
