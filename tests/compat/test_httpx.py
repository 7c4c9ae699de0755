"""httpx and httpx2 run on mio with nothing but ``import anyio_mio``."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

LIBRARIES = ["httpx", "httpx2"]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = pytest.importorskip(request.param)
    return module


async def answer(stream: SocketStream) -> None:
    """One HTTP/1.1 response, whatever was asked."""
    async with stream:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


@pytest.fixture
async def url(anyio_backend: str) -> AsyncIterator[str]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        group.cancel_scope.cancel()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that waits for the end of its request."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
    assert (await receive())["type"] == "http.disconnect"


@pytest.mark.anyio
async def test_a_client_fetches_over_the_network(library: ModuleType, url: str) -> None:
    async with library.AsyncClient() as client:
        response = await client.get(url)

    assert response.text == "hello"


@pytest.mark.anyio
async def test_a_client_fetches_from_an_asgi_application(library: ModuleType) -> None:
    transport = library.ASGITransport(app=app)
    async with library.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/", content=b"x" * 1000)

    assert response.text == "hello"


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("order", ["anyio_mio, {}", "{}, anyio_mio"])
def test_the_order_of_the_imports_does_not_matter(library: str, order: str) -> None:
    pytest.importorskip(library)
    program = f"""
        import {order.format(library)}
        import anyio

        async def main():
            async with {library}.AsyncClient() as client:
                try:
                    await client.get("http://127.0.0.1:1/")
                except {library}.ConnectError:
                    print("refused by the network")

        anyio.run(main, backend="mio")
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )

    assert (done.stdout, done.stderr) == ("refused by the network\n", "")


def test_switched_off_the_library_refuses_the_name() -> None:
    pytest.importorskip("httpx")
    program = """
        import os
        os.environ["ANYIO_MIO_COMPAT"] = "0"
        import anyio, anyio_mio, httpx

        async def main():
            async with httpx.AsyncClient() as client:
                await client.get("http://127.0.0.1:1/")

        anyio.run(main, backend="mio")
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )

    assert "unsupported async environment" in done.stderr
