"""Inputs from which fuzzing begins; those that once failed are added here."""

from __future__ import annotations

import zlib
from typing import Final

from tests.asgi.served import request
from tests.asgi.test_in_front import BAD_PROXY_LINES, HEADERS, PROXY_LINES
from tests.asgi.test_refusals import MALFORMED
from tests.asgi.test_websockets import BAD_FRAMES, HANDSHAKE, frame

CHUNKED = b"Transfer-Encoding: chunked"

SEEDS: Final[dict[str, list[bytes]]] = {
    "requests": [
        *(data for _, data in MALFORMED.values()),
        request(b"GET", b"/one") + request(b"POST", b"/two", b"Content-Length: 3", body=b"abc"),
        request(b"POST", b"/", CHUNKED, body=b"3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n")
        + request(b"GET", b"/next"),
        request(b"GET", b"/", *HANDSHAKE) + frame(1, b"hello"),
        request(b"POST", b"/", b"Connection: Upgrade", b"Upgrade: h2c", CHUNKED, body=b"0\r\n\r\n")
        + request(b"GET", b"/next"),
        request(b"GET", b"http://other:81/a?b") + request(b"OPTIONS", b"*"),
        request(b"POST", b"/", b"Connection: Upgrade", b"Upgrade: h2c", CHUNKED, body=b"0\r\n\r\n")
        + b"GET /hello HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\nmore",
    ],
    "frames": [
        b"\0" + frame(1, b"hello") + frame(2, b"bytes") + frame(9, b"ping") + frame(1, b""),
        b"\1" + frame(1, b"one ", fin=False) + frame(9, b"") + frame(0, b"two") + frame(1, b"x"),
        b"\2" + frame(1, b"x" * 130) + frame(2, b"y" * 1001) + frame(1, b"after"),
        b"\3" + frame(8, b"\x03\xe8bye") + frame(1, b"after"),
        b"\4" + bytes([0xC1]) + frame(1, zlib.compress(b"hello", wbits=-15))[1:] + frame(1, b"x"),
        *(b"\5" + data + frame(1, b"after") for _, data in BAD_FRAMES.values()),
    ],
    "proxy_header": [*PROXY_LINES.values(), *BAD_PROXY_LINES],
    "forwarded": [
        field.partition(b": ")[2] for fields, _, _ in HEADERS.values() for field in fields
    ],
    "head": [
        b"name\0value",
        b"content-length\0005",
        b"a\0b\r\nc: d",
        b"Transfer-Encoding\0chunked",
    ],
}  # fmt: skip
