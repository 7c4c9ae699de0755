"""What a server meets in use: many clients at once, clients that hang up, signals, HTTP/2."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from tests.programs.conftest import Serving, refuses
from tests.shared.certificates import client_context, write_certificate

pytest.importorskip("anycorn", reason="anycorn is not installed")
pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

import httpx

from tests.programs.routes import app

pytestmark = pytest.mark.anyio


@pytest.fixture
async def url(serving: Serving) -> AsyncIterator[str]:
    async with serving(app) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, verify=False) as client:
        yield client


async def test_the_application_runs_on_mio(client: httpx.AsyncClient) -> None:
    response = await client.get("/who")

    assert response.json()["backend"] == "mio"


async def test_a_connection_is_kept_for_the_next_request(client: httpx.AsyncClient) -> None:
    ports = {(await client.get("/who")).json()["port"] for _ in range(10)}

    assert len(ports) == 1


async def test_a_connection_that_is_to_be_closed_is_not_used_again(
    client: httpx.AsyncClient,
) -> None:
    headers = {"connection": "close"}
    ports = {(await client.get("/who", headers=headers)).json()["port"] for _ in range(3)}

    assert len(ports) == 3


async def test_the_first_part_of_a_response_is_here_before_the_second_is_made(
    client: httpx.AsyncClient,
) -> None:
    async with client.stream("GET", "/two-parts") as response:
        parts = response.aiter_raw()
        first = await anext(parts)
        await client.get("/go-on")
        rest = [part async for part in parts]

    assert (first, b"".join(rest)) == (b"first ", b"second")


async def test_a_client_that_hangs_up_ends_its_response_and_nothing_else(
    client: httpx.AsyncClient,
) -> None:
    async with client.stream("GET", "/endless") as response:
        await anext(response.aiter_raw())

    await app.state.hung_up.wait()
    assert (await client.get("/who")).status_code == 200


async def test_fifty_clients_are_served_at_once(url: str) -> None:
    count = 50
    answers: list[str] = []

    async def fetch() -> None:
        async with httpx.AsyncClient(base_url=url, verify=False, timeout=15) as client:
            answers.append((await client.get("/together", params={"count": count})).text)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(fetch)

    assert answers == [str(count)] * count


async def test_a_body_that_comes_in_chunks_arrives_whole(client: httpx.AsyncClient) -> None:
    blocks = [bytes([number]) * 10_000 for number in range(50)]

    async def body() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    answer = (await client.post("/upload", content=body())).json()

    assert answer["encoding"] == "chunked"
    assert answer["sha256"] == hashlib.sha256(b"".join(blocks)).hexdigest()


async def test_a_file_is_sent_whole(client: httpx.AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 8192)

    response = await client.get("/file", params={"path": str(path)})

    assert response.content == path.read_bytes()


async def test_a_worker_thread_comes_back_into_the_loop(client: httpx.AsyncClient) -> None:
    assert (await client.get("/blocking")).text == "mio"


async def test_an_application_that_fails_answers_500_and_serves_on(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/broken")).status_code == 500
    assert (await client.get("/who")).status_code == 200


async def test_http_2_over_tls(serving: Serving, tmp_path: Path) -> None:
    files = write_certificate(tmp_path)

    async with (
        serving(app, certfile=files.certificate, keyfile=files.key) as url,
        httpx.AsyncClient(base_url=url, verify=client_context(), http2=True) as client,
    ):
        answer = await client.post("/upload", content=b"x" * 300_000)

    assert answer.http_version == "HTTP/2"
    assert answer.json()["sha256"] == hashlib.sha256(b"x" * 300_000).hexdigest()


async def test_a_request_that_is_under_way_outlives_the_listener(serving: Serving) -> None:
    stop = anyio.Event()

    async with (
        serving(app, stop=stop) as url,
        httpx.AsyncClient(base_url=url, verify=False) as client,
        client.stream("GET", "/two-parts") as response,
    ):
        parts = response.aiter_raw()
        await anext(parts)
        stop.set()
        while not await refuses(url):
            await anyio.sleep(0.01)
        app.state.may_go_on.set()
        rest = [part async for part in parts]

    assert rest == [b"second"]
