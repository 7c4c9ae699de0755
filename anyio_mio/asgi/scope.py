"""The scope of a request: what an application is told about it."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import httptools


class TargetError(ValueError):
    """The target of a request cannot be understood."""


def split_target(url: bytes, method: str) -> tuple[bytes, bytes, bytes | None]:
    """Return the raw path, the query and the host of a request's target.

    The host is None unless the target is a whole URL, whose host then counts instead of the
    field's (RFC 9112, 3.2.2).

    Raises:
        TargetError: it is neither a path, nor a URL of HTTP, nor the ``*`` of OPTIONS.
    """
    if url[:1] == b"/":
        path, _, query = url.partition(b"?")
        if b"#" in url:
            raise TargetError("a fragment is not sent")
        return path, query, None
    if url == b"*":
        if method != "OPTIONS":
            raise TargetError("only OPTIONS has the target *")
        return url, b"", None
    return split_url(url)


def split_url(url: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the raw path, the query and the host of a whole URL."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError as error:
        raise TargetError(str(error)) from None
    if parsed.schema is None or parsed.schema.lower() not in (b"http", b"https", b"ws", b"wss"):
        raise TargetError("it is not an HTTP URL")
    if parsed.userinfo is not None or parsed.fragment is not None or not parsed.host:
        raise TargetError("it has no host, or parts that are not sent")
    host = b"[%b]" % parsed.host if b":" in parsed.host else parsed.host
    port = b"" if parsed.port is None else b":%d" % parsed.port
    return parsed.path or b"/", parsed.query or b"", host + port


def decode_path(raw: bytes) -> str:
    """Return a raw path with its escapes decoded; bytes that are not UTF-8 become U+FFFD."""
    if b"%" not in raw:
        return raw.decode("ascii")
    return unquote_to_bytes(raw).decode("utf-8", "replace")


def with_host(headers: list[tuple[bytes, bytes]], host: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields with another host."""
    return [(b"host", host), *(field for field in headers if field[0] != b"host")]


def websocket_scope(scope: dict[str, Any], subprotocols: list[str]) -> dict[str, Any]:
    """Return the scope of a WebSocket that began as the request of ``scope``."""
    scope = {**scope, "type": "websocket", "subprotocols": subprotocols}
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    if "tls" in scope["extensions"]:
        extensions["tls"] = scope["extensions"]["tls"]
    scope["extensions"] = extensions
    del scope["method"]
    return scope
