"""The same requests to the same application, here and under uvicorn: what differs is meant."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.asgi.served import WAIT, Client, request, serving
from tests.asgi.test_requests import wait_for

uvicorn = pytest.importorskip("uvicorn")
ProxyHeadersMiddleware = pytest.importorskip(
    "uvicorn.middleware.proxy_headers"
).ProxyHeadersMiddleware

CLOSE = b"Connection: close"
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
    + b"z" * 100_000
    + b"\r\n--B--\r\n"
)


async def pieces() -> AsyncIterator[bytes]:
    for i in range(5):
        yield b"piece %d" % i


async def scope(request: Request) -> Response:
    names = ("method", "scheme", "path", "raw_path", "query_string", "root_path", "headers")
    return PlainTextResponse(repr([request.scope[name] for name in names]))


async def form(request: Request) -> Response:
    async with request.form() as fields:
        file: Any = fields["f"]
        return JSONResponse({"name": file.filename, "size": len(await file.read())})


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="text/x-echo")


async def cookies(request: Request) -> Response:
    response = PlainTextResponse("cookies")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def teapot(request: Request) -> Response:
    raise HTTPException(418, "short and stout", {"x-name": "value"})


async def crash(request: Request) -> Response:
    raise LookupError("the application fails")


def answering(response: Any) -> Any:
    async def endpoint(request: Request) -> Response:
        answer: Response = response()
        return answer

    return endpoint


async def nothing() -> None:
    pass


def make(folder: Path) -> Starlette:
    path = folder / "file.bin"
    path.write_bytes(bytes(range(256)) * 300)
    os.utime(path, (1e9, 1e9))
    answers: dict[str, Any] = {
        "json": lambda: JSONResponse({"x": 5}),
        "stream": lambda: StreamingResponse(pieces()),
        "sized": lambda: StreamingResponse(pieces(), headers={"content-length": "35"}),
        "file": lambda: FileResponse(path),
        "redirect": lambda: RedirectResponse("/json"),
        "204": lambda: Response(status_code=204),
        "304": lambda: Response(status_code=304, headers={"etag": '"x"'}),
        "task": lambda: PlainTextResponse("task", background=BackgroundTask(nothing)),
    }
    others = (scope, cookies, teapot, crash)
    return Starlette(
        routes=[
            *(Route(f"/{name}", answering(answer)) for name, answer in answers.items()),
            *(Route(f"/{each.__name__}", each) for each in others),
            Route("/echo", echo, methods=["POST"]),
            Route("/form", form, methods=["POST"]),
            Mount("/static", StaticFiles(directory=folder)),
        ]
    )


def post(target: bytes, body: bytes, *fields: bytes) -> bytes:
    return request(b"POST", target, b"Content-Length: %d" % len(body), *fields, CLOSE, body=body)


TARGETS = (
    b"/json", b"/stream", b"/sized", b"/file", b"/redirect", b"/204", b"/304", b"/task", b"/scope",
    b"/scope?a=%20b&c", b"/sc%6fpe", b"/scope%2F", b"/cookies", b"/teapot", b"/crash", b"/none",
    b"/static/file.bin", b"/static/none", b"/static/../file.bin", b"/%ff", b"/%00", b"//json",
)  # fmt: skip

REQUESTS: dict[str, bytes] = {
    **{f"GET {target.decode()}": request(b"GET", target, CLOSE) for target in TARGETS},
    **{f"HEAD {target.decode()}": request(b"HEAD", target, CLOSE) for target in TARGETS},
    **{
        f"{path.decode()} {part}": request(b"GET", path, b"Range: bytes=" + part.encode(), CLOSE)
        for path in (b"/file", b"/static/file.bin")
        for part in ("0-9", "5-", "-5", "0-0,5-9", "999999-", "9-5", "x")
    },
    "not modified": request(
        b"GET", b"/static/file.bin", b"If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT", CLOSE
    ),
    "HTTP/1.0": b"GET /json HTTP/1.0\r\n\r\n",
    "wrong method": request(b"PUT", b"/json", CLOSE),
    "a body": post(b"/echo", b"y" * 200_000),
    "an empty body": request(b"POST", b"/echo", CLOSE),
    "a chunked body": request(
        b"POST", b"/echo", b"Transfer-Encoding: chunked", CLOSE, body=b"5\r\nhello\r\n0\r\n\r\n"
    ),
    "a body that is not read": post(b"/json", b"hello"),
    "a form": post(b"/form", FORM, b"Content-Type: multipart/form-data; boundary=B"),
    "a bad form": post(b"/form", b"hello", b"Content-Type: multipart/form-data; boundary=B"),
    "fields": request(b"GET", b"/scope", b"X: 1", b"x: 2", b"Y: \xe9", b"Cookie: a=b", CLOSE),
    "of a proxy": request(
        b"GET", b"/scope", b"X-Forwarded-Proto: https", b"X-Forwarded-For: 1.2.3.4", CLOSE
    ),
    "a pipeline": (
        request(b"GET", b"/json") + request(b"POST", b"/echo", b"Content-Length: 3", body=b"abc")
        + request(b"GET", b"/json", CLOSE)
    ),
}  # fmt: skip

MEANT: dict[str, tuple[bytes, bytes]] = {
    "a stream to HTTP/1.0": (b"GET /stream HTTP/1.0\r\n\r\n", b"\r\n\r\npiece 0piece 1"),
    "keep-alive in HTTP/1.0": (
        b"GET /json HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"connection: keep-alive"
    ),
    "blanks behind a value": (request(b"GET", b"/scope", b"X: y  ", CLOSE), b"(b'x', b'y')"),
    "a whole URL": (request(b"GET", b"http://other/scope", CLOSE), b"(b'host', b'other')"),
    "a body that came before it was asked for": (
        post(b"/echo", b"hello", b"Expect: 100-continue"), b"HTTP/1.1 200 OK"
    ),
}  # fmt: skip
"""Requests whose answers differ, and what is in ours alone; the guide "Coming from uvicorn" has a
line for each."""


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with serving_by_both(make(tmp_path_factory.mktemp("files"))) as ports:
        yield ports


@pytest.fixture(scope="module")
def ports_with_middleware(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[int, int]]:
    app = make(tmp_path_factory.mktemp("files"))
    app.add_middleware(Timing)
    app.add_middleware(GZipMiddleware, minimum_size=20)
    app.add_middleware(CORSMiddleware, allow_origins=["http://friend"], allow_methods=["*"])
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["test"])
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts="127.0.0.1")
    with serving_by_both(app) as ports:
        yield ports


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-timing"] = "1"
        return response


@contextmanager
def serving_by_both(app: Any) -> Iterator[tuple[int, int]]:
    """Serve an application; the port of this server, and the one of uvicorn."""
    config = uvicorn.Config(app, port=0, log_level="critical", loop="asyncio", http="httptools")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, 10)
        other = server.servers[0].sockets[0].getsockname()[1]
        with serving(app) as served:
            yield served.port, other
    finally:
        server.should_exit = True
        thread.join(10)


def ask(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), WAIT) as sock:
        client = Client(sock)
        client.send(data)
        if b"keep-alive" in data:
            sock.shutdown(socket.SHUT_WR)
        return client.read_all()


def comparable(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Status line, sorted fields, and the rest, without what differs from answer to answer."""
    answer = re.sub(rb"\r\n(?i:date|server): [^\r]*", b"", answer)
    answer = re.sub(rb"(boundary=|--)[0-9a-f]{26,40}", rb"\1X", answer)
    head, _, rest = answer.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    return status, sorted(field.lower() for field in fields), rest


@pytest.mark.parametrize("name", REQUESTS)
def test_an_answer_is_that_of_uvicorn(ports: tuple[int, int], name: str) -> None:
    ours, theirs = (comparable(ask(port, REQUESTS[name])) for port in ports)
    assert ours == theirs


FOR_MIDDLEWARE: dict[str, bytes] = {
    name: request(method, target, *fields, CLOSE)
    for name, method, target, *fields in (
        ("plain", b"GET", b"/json"),
        ("compressed", b"GET", b"/scope", b"Accept-Encoding: gzip"),
        ("a compressed stream", b"GET", b"/stream", b"Accept-Encoding: gzip"),
        ("a file", b"GET", b"/file", b"Range: bytes=5-9"),
        ("HEAD", b"HEAD", b"/file"),
        ("a friend", b"GET", b"/json", b"Origin: http://friend"),
        ("a stranger", b"GET", b"/json", b"Origin: http://stranger"),
        ("a preflight", b"OPTIONS", b"/json", b"Origin: http://friend",
         b"Access-Control-Request-Method: GET"),
        ("of a proxy", b"GET", b"/scope", b"X-Forwarded-Proto: https", b"X-Forwarded-For: 1.2.3.4"),
        ("a failure", b"GET", b"/crash"),
        ("background work", b"GET", b"/task"),
    )
}  # fmt: skip
FOR_MIDDLEWARE["another host"] = b"GET / HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("name", FOR_MIDDLEWARE)
def test_an_answer_through_middleware_is_that_of_uvicorn(
    ports_with_middleware: tuple[int, int], name: str
) -> None:
    data = FOR_MIDDLEWARE[name]
    ours, theirs = (comparable(ask(port, data)) for port in ports_with_middleware)
    assert ours == theirs


@pytest.mark.parametrize("name", MEANT)
def test_an_answer_that_is_not_that_of_uvicorn_is_meant(ports: tuple[int, int], name: str) -> None:
    data, ours = MEANT[name]
    mine, other = (ask(port, data) for port in ports)
    assert mine.startswith(b"HTTP/1.1 200 OK")
    assert ours in mine
    assert comparable(mine) != comparable(other)
