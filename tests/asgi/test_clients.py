"""Other people's clients: curl, wrk, httpx, aiohttp, websockets, and h11 as a strict reader."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import websockets
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

from tests.asgi import apps
from tests.asgi.served import KINDS, Kind, Served, authority, client_context, request, serving
from tests.asgi.test_requests import scope_of
from tests.asgi.test_websockets import echo

CONTENT = bytes(range(256)) * 8000


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {name})")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients")
    authority().cert_pem.write_to_path(folder / "authority.pem")
    (folder / "file.bin").write_bytes(CONTENT)
    return folder


@pytest.fixture(scope="module")
def app(folder: Path) -> Any:
    async def file(_: Any) -> FileResponse:
        return FileResponse(folder / "file.bin")

    files = Starlette(routes=[Route("/file", file)])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/file":
            await files(scope, receive, send)
        else:
            await echo(scope, receive, send)

    return app


@pytest.fixture(params=KINDS, scope="module")
def every(request: pytest.FixtureRequest, app: Any) -> Iterator[Served]:
    """One server on TCP, one on a UNIX socket, one with TLS."""
    with serving(app, request.param) as served:
        yield served


@pytest.fixture(scope="module")
def served(app: Any) -> Iterator[Served]:
    with serving(app) as served:
        yield served


class Curl:
    """curl, as it is used on a server."""

    def __init__(self, served: Served, folder: Path) -> None:
        self._program = program("curl")
        self.options = ["--silent", "--show-error", "--max-time", "10", "--noproxy", "*"]
        self.origin = "http://localhost"
        if served.kind == "unix":
            self.options += ["--unix-socket", str(served.address)]
        else:
            scheme = "https" if served.kind == "tls" else "http"
            self.origin = f"{scheme}://127.0.0.1:{served.port}"
        if served.kind == "tls":
            self.options += ["--cacert", str(folder / "authority.pem")]

    def __call__(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What it prints."""
        words = [each.replace("~", self.origin, 1) for each in arguments]
        done = subprocess.run(
            [self._program, *self.options, *words],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@pytest.fixture
def curl(every: Served, folder: Path) -> Curl:
    return Curl(every, folder)


def test_curl_keeps_its_connection(curl: Curl) -> None:
    out = curl(*[f"~/name/{i}" for i in range(5)], "--write-out", " %{num_connects}\n")
    assert out.split() == [b"/name/0", b"1", *b"/name/1 0 /name/2 0 /name/3 0 /name/4 0".split()]


def test_curl_waits_for_100_continue_and_uploads(curl: Curl) -> None:
    body = CONTENT[:200_000]
    fields = ("--header", "Expect: 100-continue", "--expect100-timeout", "9")
    out = curl("~/echo", *fields, "--data-binary", "@-", "--include", stdin=body)
    assert out.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert out.endswith(body)


def test_curl_uploads_in_chunks(curl: Curl) -> None:
    body = CONTENT[:300_000]
    chunked = ("--header", "Transfer-Encoding: chunked")
    assert curl("~/echo", *chunked, "--upload-file", "-", stdin=body) == body


def test_curl_asks_for_heads_and_goes_on(curl: Curl) -> None:
    out = curl("--head", "~/hello", "--next", *curl.options, "~/hello")
    head, _, body = out.partition(b"\r\n\r\n")
    assert b"content-length: 5" in head
    assert body == b"hello"


@pytest.mark.parametrize("path, body", [("hello", b"hello"), ("stream", b"onetwothree")])
def test_curl_speaks_http_1_0(curl: Curl, path: str, body: bytes) -> None:
    head, _, received = curl("--http1.0", "--include", f"~/{path}").partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"chunked" not in head
    assert received == body


def test_curl_asks_for_http_2_and_gets_http_1_1(curl: Curl) -> None:
    assert curl("--http2", "~/hello", "--write-out", " %{http_version}") == b"hello 1.1"


def test_curl_reads_chunks_and_a_large_file_and_parts_of_it(curl: Curl) -> None:
    assert curl("~/stream") == b"onetwothree"
    assert curl("~/file") == CONTENT
    assert curl("--range", "1000-200000", "~/file") == CONTENT[1000:200_001]
    assert curl("--range", "-5", "~/file") == CONTENT[-5:]
    parts = curl("--range", "0-1,10-12", "--include", "~/file")
    assert b"206 Partial Content" in parts
    assert parts.count(b"Content-Range: bytes ") == 2


def test_curl_loads_many_at_once(curl: Curl) -> None:
    urls = ("--parallel", "--parallel-max", "20", "~/name/[1-60]")
    assert sorted(re.findall(rb"/name/(\d+)", curl(*urls)), key=int) == [
        b"%d" % i for i in range(1, 61)
    ]


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_curl_sends_a_proxy_header(app: Any, folder: Path, kind: Kind) -> None:
    with serving(app, kind, proxy_protocol=True) as served:
        scope = scope_of(Curl(served, folder)("--haproxy-protocol", "~/show"))
    assert scope["client"][0] == "127.0.0.1"
    assert scope["client"][1] > 0


def test_wrk_meets_no_error(served: Served) -> None:
    out = wrk(served, "/hello", "--latency")
    assert requests_of(out) > 100


PIPELINE = """
init = function(args)
  local all = {}
  for i = 1, 16 do all[i] = wrk.format("GET", "/name/" .. i) end
  pipeline = table.concat(all)
end
request = function() return pipeline end
"""


def test_wrk_pipelines(served: Served, tmp_path: Path) -> None:
    script = tmp_path / "pipeline.lua"
    script.write_text(PIPELINE)
    assert requests_of(wrk(served, "/", "--script", str(script))) > 100


def wrk(served: Served, path: str, *options: str) -> str:
    """wrk with 32 connections for a second; it must count no error."""
    command = [program("wrk"), "--threads", "1", "--connections", "32", "--duration", "1s"]
    url = f"http://127.0.0.1:{served.port}{path}"
    done = subprocess.run(
        [*command, *options, url], capture_output=True, text=True, check=True, timeout=20
    )
    assert "Socket errors" not in done.stdout, done.stdout
    assert "Non-2xx" not in done.stdout, done.stdout
    return done.stdout


def requests_of(out: str) -> int:
    match = re.search(r"(\d+) requests in", out)
    assert match, out
    return int(match[1])


def test_httpx_streams_both_ways_on_many_connections(served: Served) -> None:
    def exchange(number: int) -> bool:
        body = b"%d" % number * 10_000
        with httpx.Client(base_url=base, trust_env=False) as client:
            pieces = (body[i : i + 7000] for i in range(0, len(body), 7000))
            return client.post("/echo", content=pieces).content == body and all(
                client.get(f"/name/{i}").text == f"/name/{i}" for i in range(5)
            )

    base = f"http://127.0.0.1:{served.port}"
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(exchange, range(16)))


def test_aiohttp_talks_to_it(every: Served) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for i in range(20):
            yield b"%d," % i * 100

    async def main() -> None:
        connector = (
            aiohttp.UnixConnector(str(every.address)) if every.kind == "unix" else
            aiohttp.TCPConnector(ssl=client_context() if every.kind == "tls" else True, limit=8)
        )  # fmt: skip
        origin = f"{'https' if every.kind == 'tls' else 'http'}://"
        origin += "localhost" if every.kind == "unix" else f"127.0.0.1:{every.port}"
        async with aiohttp.ClientSession(connector=connector) as session:

            async def name(i: int) -> None:
                async with session.get(f"{origin}/name/{i}") as answer:
                    assert await answer.text() == f"/name/{i}"

            await asyncio.gather(*map(name, range(40)))
            async with session.post(f"{origin}/echo", data=pieces(), expect100=True) as answer:
                assert len(await answer.read()) == 5000
            async with session.head(f"{origin}/hello") as answer:
                assert answer.headers["content-length"] == "5"
            async with session.ws_connect(f"{origin}/ws", compress=15) as socket:
                await socket.send_str("text " * 1000)
                assert await socket.receive_str() == "text " * 1000
                await socket.send_bytes(b"bytes")
                assert await socket.receive_bytes() == b"bytes"
        # aiohttp does not wait for the end of its connections, and one of TLS takes a while.
        await asyncio.sleep(0.25 if every.kind == "tls" else 0.01)

    asyncio.run(main())


def test_many_websockets_at_once_lose_no_message(served: Served) -> None:
    async def talk(number: int) -> None:
        compression = "deflate" if number % 2 else None
        url = f"ws://127.0.0.1:{served.port}/"
        async with websockets.connect(url, compression=compression, proxy=None) as socket:
            for i in range(10):  # without waiting, so that several are on their way
                await socket.send(f"{number} {i} " + "x" * (100 * i))
            for i in range(10):
                assert await socket.recv() == f"{number} {i} " + "x" * (100 * i)

    async def main() -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*map(talk, range(60)))

    asyncio.run(main())


PATHS = [f"/{name}" for name in sorted(apps.ROUTES)]
WITHOUT_ANSWER = {"/fail_later", "/half", "/short_stream", "/long_stream"}


@pytest.mark.parametrize("path", [each for each in PATHS if each not in WITHOUT_ANSWER])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
def test_h11_reads_each_answer(served: Served, path: str, method: bytes) -> None:
    target = {"/empty": "/empty/204", "/big": "/big/3"}.get(path, path).encode()
    with served.connect() as client:
        for _ in range(2):
            client.send(request(method, target, b"Content-Length: 4", body=b"body"))
            answer = client.read_answer(method)
            assert answer.status in (200, 204, 500)
            if answer[b"connection"] == b"close":
                assert client.read_all() == b""
                break
            assert client.buffer == b""
