"""The parser in front of the server: what it makes of bytes, however they are cut."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from anyio_mio.asgi.options import split
from anyio_mio.asgi.request_parser import RequestParser
from anyio_mio.asgi.site import Site
from anyio_mio.serving.threads import run_of_this_thread


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Never called."""


def parse(*pieces: bytes) -> list[tuple[str, bytes, str]]:
    """The method, the target and the version of each request."""
    source: Any = None

    async def main() -> list[tuple[str, bytes, str]]:
        site = Site(app, split({})[0], anyio.Event(), run_of_this_thread())
        parser = RequestParser(site, source)
        for piece in filter(None, pieces):
            parser.feed(piece)
        assert not parser.fault
        return [(each.method, each.url, each.version) for each in parser.requests]

    return anyio.run(main, backend="mio")


def head(line: bytes, *, behind: bytes = b"") -> bytes:
    return line + b"\r\nHost: x\r\n\r\n" + behind


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("method", ["GET", "UNSUBSCRIBE"])
@pytest.mark.parametrize("target", [b"/", b"/?HTTP/1.1", b"/0123456789HTTP/1.1", b"http://x/"])
@pytest.mark.parametrize("blank_lines", [0, 1, 5])
def test_a_version_is_told_wherever_the_request_is_cut(
    version: str, method: str, target: bytes, blank_lines: int
) -> None:
    line = b"%b %b HTTP/%b" % (method.encode(), target, version.encode())
    data = b"\r\n" * blank_lines + head(line)

    for cut in range(len(data)):
        assert parse(data[:cut], data[cut:]) == [(method, target, version)]


@pytest.mark.parametrize("first, second", [("1.0", "1.1"), ("1.1", "1.0")])
def test_each_pipelined_request_has_its_own_version(first: str, second: str) -> None:
    lines = [b"GET /a HTTP/" + each.encode() for each in (first, second)]
    keep = b"\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"

    answer = parse(lines[0] + keep + lines[1] + keep)

    assert answer == [("GET", b"/a", first), ("GET", b"/a", second)]


def test_a_body_that_looks_like_a_request_line_says_nothing_about_the_next_version() -> None:
    body = b"GET /b HTTP/1.1\r\n"
    post = head(b"POST /a HTTP/1.1\r\nContent-Length: %d" % len(body))

    answer = parse(post, body + head(b"GET /b HTTP/1.0"))

    assert answer == [("POST", b"/a", "1.1"), ("GET", b"/b", "1.0")]


def test_a_field_that_looks_like_a_request_line_says_nothing_about_the_version() -> None:
    data = b"GET /a HTTP/1.0\r\nHost: x\r\nX: "

    assert parse(data, b"GET /a HTTP/1.1\r\n\r\n") == [("GET", b"/a", "1.0")]
