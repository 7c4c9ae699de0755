"""Files as bodies: http.response.pathsend and http.response.zerocopysend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

from tests.asgi import apps
from tests.asgi.served import KINDS, Served, request, serving

CONTENT = os.urandom(1_500_000)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "file.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=KINDS, scope="module")
def served(  # noqa: C901 - one branch for each target
    request: pytest.FixtureRequest, path: Path
) -> Iterator[Served]:
    async def starlette_file(_: Any) -> FileResponse:
        return FileResponse(path)

    starlette = Starlette(routes=[Route("/starlette", starlette_file)])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert {"http.response.pathsend", "http.response.zerocopysend"} <= set(scope["extensions"])
        kind = scope["path"][1:]
        if kind == "starlette":
            await starlette(scope, receive, send)
        elif kind == "whole":
            await apps.start(send)
            await send({"type": "http.response.pathsend", "path": str(path)})
        elif kind == "wrong":
            await apps.start(send, (b"content-length", b"5"))
            await send({"type": "http.response.pathsend", "path": str(path)})
        elif kind == "missing":
            await apps.start(send)
            await send({"type": "http.response.pathsend", "path": str(path) + "x"})
        elif kind == "folder":
            await apps.start(send)
            await send({"type": "http.response.pathsend", "path": str(path.parent)})
        else:
            await send_parts(send, kind)

    async def send_parts(send: Any, kind: str) -> None:
        length = [(b"content-length", b"301")] if kind != "chunks" else []
        await apps.start(send, *length)
        await apps.say(send, b"+", more=True)
        part = {"type": "http.response.zerocopysend", "more_body": True}
        with path.open("rb") as file:
            await send({**part, "file": file, "offset": 1000, "count": 100})
            file.seek(2000)
            await send({**part, "file": file.fileno(), "count": 200})
            if kind == "toolong":
                await send({**part, "file": file, "offset": 0, "count": 1})
            await send({**part, "file": file, "count": 0, "more_body": False})

    with serving(app, request.param, lifespan="off") as served:
        yield served


@pytest.mark.parametrize("target", [b"/starlette", b"/whole"])
def test_a_whole_file_is_sent(served: Served, target: bytes) -> None:
    with served.connect() as client:
        for _ in range(2):
            answer = client.get(target)
            assert answer.body == CONTENT
            assert answer[b"content-length"] == b"%d" % len(CONTENT)


def test_head_sends_no_file(served: Served) -> None:
    with served.connect() as client:
        client.send(request(b"HEAD", b"/whole"))
        answer = client.read_answer(b"HEAD")
        assert (answer.body, answer[b"content-length"]) == (b"", b"%d" % len(CONTENT))
        assert client.get(b"/whole").body == CONTENT


def test_starlette_sends_the_range_that_was_asked_for(served: Served) -> None:
    with served.connect() as client:
        answer = client.get(b"/starlette", b"Range: bytes=10-19")
    assert (answer.status, answer.body) == (206, CONTENT[10:20])


@pytest.mark.parametrize("target", [b"/parts", b"/chunks"])
def test_parts_of_files_and_bytes_make_one_body(served: Served, target: bytes) -> None:
    with served.connect() as client:
        answer = client.get(target)
        assert answer.body == b"+" + CONTENT[1000:1100] + CONTENT[2000:2200]
        assert (answer[b"transfer-encoding"] == b"chunked") is (target == b"/chunks")


def test_parts_that_turn_out_too_long_do_not_look_whole(served: Served) -> None:
    _, _, body = served.ask(request(b"GET", b"/toolong")).partition(b"\r\n\r\n")
    assert len(body.removesuffix(b"<reset>")) < 301


@pytest.mark.parametrize("target", [b"/wrong", b"/missing", b"/folder"])
def test_a_file_that_cannot_be_sent_is_a_500(served: Served, target: bytes) -> None:
    assert served.ask(request(b"GET", target)).startswith(b"HTTP/1.1 500 ")


def test_a_client_that_leaves_during_a_file_is_no_error(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with served.connect() as client:
            client.send(request(b"GET", b"/whole") * 20)
            client.read_until(b"\r\n\r\n")
    with served.connect() as client:
        assert client.get(b"/whole").body == CONTENT
    assert caplog.records == []
