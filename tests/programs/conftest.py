"""Servers of these tests listen on a free port of 127.0.0.1, and every test is bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

import anyio_mio  # noqa: F401 - makes the backend known

SECONDS = 20
"""After which a program that hangs is ended."""

Address = tuple[str, int]
Serving = Callable[..., AbstractAsyncContextManager[str]]


@asynccontextmanager
async def serve_with_anycorn(
    app: Any, *, stop: anyio.Event | None = None, **settings: Any
) -> AsyncIterator[str]:
    """Serve an application; yields its URL, stops in good order."""
    anycorn = pytest.importorskip("anycorn", reason="anycorn is not installed")
    stop = stop or anyio.Event()
    config = anycorn.Config.from_mapping(
        bind=["127.0.0.1:0"], worker_class="mio", errorlog=None, **settings
    )
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            serve = partial(anycorn.serve, app, config, shutdown_trigger=stop.wait)
            [url] = await group.start(serve)
            try:
                yield url
            finally:
                stop.set()


@pytest.fixture
def serving() -> Serving:
    return serve_with_anycorn


def address_of(url: str) -> Address:
    """The host and the port of a URL that has both."""
    parts = urlsplit(url)
    return str(parts.hostname), parts.port or 0


async def refuses(url: str) -> bool:
    """Whether nobody listens there any more."""
    try:
        stream = await anyio.connect_tcp(*address_of(url))
    except OSError:
        return True
    await stream.aclose()
    return False
