"""A Starlette application, served by anycorn and fetched by httpx, all of them on mio."""

from __future__ import annotations

import hashlib
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import trustme

httpx = pytest.importorskip("httpx")
pytest.importorskip("anycorn")
pytest.importorskip("starlette")

from anycorn import serve  # noqa: E402 - only if it is there
from starlette.testclient import TestClient  # noqa: E402

import anyio_mio  # noqa: E402, F401 - registers the backend

from .application import CHUNKS, app, configuration  # noqa: E402

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "mio"


@asynccontextmanager
async def served(**changes: object) -> AsyncIterator[str]:
    """The application on a free port; its address."""
    stop = anyio.Event()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:

            async def run(*, task_status: anyio.abc.TaskStatus[list[str]]) -> None:
                await serve(
                    app,
                    configuration(**changes),
                    shutdown_trigger=stop.wait,
                    task_status=task_status,
                )

            (url,) = await group.start(run)
            yield url
            stop.set()


async def test_a_connection_is_kept_alive_for_a_second_request() -> None:
    async with served() as url, httpx.AsyncClient(base_url=url) as client:
        answers, addresses = [], set()
        for _ in range(2):
            async with client.stream("GET", "/") as response:
                stream = response.extensions["network_stream"]
                addresses.add(stream.get_extra_info("client_addr"))
                answers.append(await response.aread())

    assert answers == [b"hello", b"hello"]
    assert len(addresses) == 1


async def test_a_chunked_upload_arrives_whole() -> None:
    blocks = [bytes([number]) * 10_000 for number in range(50)]

    async def body() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    async with served() as url, httpx.AsyncClient(base_url=url) as client:
        response = await client.post("/upload", content=body())

    whole = b"".join(blocks)
    assert response.json() == {"size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}


async def test_a_streaming_response_arrives_whole() -> None:
    async with (
        served() as url,
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", "/stream") as response,
    ):
        text = "".join([part async for part in response.aiter_text()])

    assert text == "".join(CHUNKS)


async def test_fifty_clients_at_once_are_all_answered() -> None:
    answers: list[str] = []

    async def fetch(url: str) -> None:
        async with httpx.AsyncClient(base_url=url) as client:
            answers.append((await client.get("/")).text)

    async with served() as url, anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(fetch, url)

    assert answers == ["hello"] * 50


async def test_tls_from_end_to_end(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    paths = {"certfile": str(tmp_path / "cert.pem"), "keyfile": str(tmp_path / "key.pem")}

    async with served(**paths) as url, httpx.AsyncClient(base_url=url, verify=context) as client:
        response = await client.get("/")

    assert url.startswith("https://")
    assert response.text == "hello"


async def test_a_websocket_echoes() -> None:
    httpx_ws = pytest.importorskip("httpx_ws")

    async with (
        served() as url,
        httpx.AsyncClient(base_url=url) as client,
        httpx_ws.aconnect_ws("/echo", client) as websocket,
    ):
        await websocket.send_text("one")
        first = await websocket.receive_text()
        await websocket.send_text("two")
        second = await websocket.receive_text()

    assert (first, second) == ("one", "two")


def test_starlettes_test_client_takes_the_name_of_the_backend() -> None:
    with TestClient(app, backend="mio") as client:  # type: ignore[arg-type]
        assert client.get("/").text == "hello"
        with client.websocket_connect("/echo") as websocket:
            websocket.send_text("one")
            assert websocket.receive_text() == "one"


@pytest.fixture
def program() -> Iterator[tuple[subprocess.Popen[str], str]]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.programs.application"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


async def test_sigterm_lets_the_open_request_finish(
    program: tuple[subprocess.Popen[str], str],
) -> None:
    process, url = program
    with anyio.fail_after(20):
        async with httpx.AsyncClient(base_url=url) as client, anyio.create_task_group() as group:
            answers: list[str] = []

            async def fetch() -> None:
                answers.append((await client.get("/slow")).text)

            assert (await client.get("/")).text == "hello"
            group.start_soon(fetch)
            await anyio.sleep(0.1)
            process.send_signal(signal.SIGTERM)
        status = await anyio.to_thread.run_sync(process.wait)

    assert (answers, status) == (["finished"], 0)
