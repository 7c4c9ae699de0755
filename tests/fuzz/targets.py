"""What is fuzzed: code that reads what strangers send, and what must hold for every input.

Each target takes bytes. It raises what no input may raise, or AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import anyio
import h11
from websockets.datastructures import Headers
from websockets.http11 import Request

from anyio_mio.asgi.errors import ApplicationError
from anyio_mio.asgi.exchange import Exchange
from anyio_mio.asgi.options import Settings
from anyio_mio.asgi.proxy import FIELDS, Trusted, heed
from anyio_mio.asgi.proxy_protocol import ProxyHeader, ProxyHeaderError, parse_header
from anyio_mio.asgi.request_parser import RequestParser
from anyio_mio.asgi.response_head import join_head
from anyio_mio.asgi.site import Site
from anyio_mio.asgi.websocket import OPEN, WebSocket

MOST: Final = 8192
"""Bytes of an input that are used: below the limits for heads, which depend on how it is cut."""


async def no_application(*_: Any) -> None:
    pass


NO_LOOP: Any = SimpleNamespace(asyncio=None)
"""A run in which nothing uses asyncio."""

SITE: Final = Site(no_application, Settings(), anyio.Event(), NO_LOOP)
SOURCE: Final[Any] = None
"""The parser only hands it on."""


@dataclass
class Parsed:
    """A request as it was understood."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    is_complete: bool
    version: str


def requests(data: bytes) -> None:
    """The parser raises nothing, cuts change nothing, and h11 sees no other requests."""
    data = data[:MOST]
    size = 1 + data[0] % 7 if data else 1
    whole, fault = parse([data])
    cut, cut_fault = parse([data[i : i + size] for i in range(0, len(data), size)])
    assert bool(fault) == bool(cut_fault), (fault, cut_fault, size)
    assert len(whole) == len(cut), (whole, cut)
    for one, other in zip(whole, cut, strict=True):
        assert one.is_complete == other.is_complete
        assert not one.is_complete or one == other, (one, other)
    compare_with_h11(data, whole, is_refused=bool(fault))


def parse(pieces: list[bytes]) -> tuple[list[Parsed], int]:
    """What the server makes of a connection's data, and the status for what it refuses."""
    parser = RequestParser(SITE, SOURCE, FIELDS)
    exchanges: list[Exchange] = []
    for piece in pieces:
        feed(parser, piece)
        exchanges.extend(parser.requests)
        parser.requests.clear()
        if parser.fault or any(each.wants_websocket for each in exchanges):
            break
    return [parsed(each) for each in exchanges], parser.fault


def feed(parser: RequestParser, data: bytes) -> None:
    parser.feed(data)
    while parser.unparsed and not parser.fault:
        if any(each.wants_websocket for each in parser.requests):
            return
        parser.feed(parser.take_unparsed())


def parsed(exchange: Exchange) -> Parsed:
    body = b"".join(exchange.chunks)
    return Parsed(
        exchange.method,
        exchange.url,
        exchange.headers,
        body,
        exchange.is_complete,
        exchange.version,
    )


def compare_with_h11(data: bytes, ours: list[Parsed], *, is_refused: bool) -> None:
    """A request that both take must be the same to both: else it could be smuggled."""
    for own, other in zip(ours, h11_requests(data), strict=False):
        assert own.method == other.method
        assert (own.target, own.version) == (other.target, other.version)
        if own.target.startswith(b"/"):
            assert normal(own.headers) == other.headers, (own, other)
        if is_refused and not own.is_complete:
            return
        assert own.is_complete == other.is_complete, (own, other)
        assert own.body == other.body or not own.is_complete


def normal(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields as h11 gives them: it turns the name of a coding into small letters."""
    return [
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in headers
    ]


def h11_requests(data: bytes) -> list[Parsed]:
    """The requests that h11 reads, up to an error or a change of the protocol."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    found: list[Parsed] = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                headers = [(bytes(name), bytes(value)) for name, value in event.headers]
                method, version = event.method.decode(), event.http_version.decode()
                found.append(Parsed(method, event.target, headers, b"", False, version))
            elif isinstance(event, h11.Data):
                found[-1].body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found[-1].is_complete = True
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return found
    except h11.RemoteProtocolError:
        return [each for each in found if each.is_complete]
    except h11.LocalProtocolError:  # it must close, so that nothing comes behind
        return found


def proxy_header(data: bytes) -> None:
    """A header ends where it ends, however much of it has come."""
    whole = header_of(data)
    for size in {*range(min(len(data), 40)), len(data) // 2, len(data) - 1} - {-1}:
        part = header_of(data[:size])
        if isinstance(part, ProxyHeader):
            assert part == whole
            assert part.size <= size
        if part == "refused":
            assert whole == "refused"


def header_of(data: bytes) -> ProxyHeader | str | None:
    try:
        return parse_header(data)
    except ProxyHeaderError:
        return "refused"


TRUSTED: Final = Trusted(["127.0.0.1", "10.0.0.0/8", "::1"])


def forwarded(data: bytes) -> None:
    """What a proxy's fields say never raises, and the client stays a host and a port."""
    for name in sorted(FIELDS):
        scope: dict[str, Any] = {"scheme": "http", "client": ("127.0.0.1", 1)}
        heed(scope, [(name, data[:2000])], TRUSTED)
        assert scope["scheme"] in ("http", "https")
        host, port = scope["client"]
        assert isinstance(host, str)
        assert host
        assert isinstance(port, int)


def head(data: bytes) -> None:
    """What an application sends as a head is one head, or an error."""
    name, _, value = data[:2000].partition(b"\0")
    try:
        joined = join_head(200, [(b"x", b"y"), (name, value)], [])
    except ApplicationError:
        return
    lines = joined.split(b"\r\n")
    assert lines[:2] == [b"HTTP/1.1 200 OK", b"x: y"]
    assert len(lines) <= 3
    assert not any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines)


HANDSHAKE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Extensions": "permessage-deflate",
}


WEBSOCKET_SITES: Final = {
    is_compressed: Site(
        no_application,
        Settings(ws_max_size=1000, ws_compression=is_compressed),
        anyio.Event(),
        NO_LOOP,
    )
    for is_compressed in (False, True)
}


class Carrier:
    """What a WebSocket needs of its connection."""

    app = no_application
    stream: Any = None
    read_due = 0.0
    is_gone = False

    def __init__(self, *, is_compressed: bool) -> None:
        self.site = WEBSOCKET_SITES[is_compressed]

    async def write(self, data: bytes) -> None:
        raise NotImplementedError

    def take_unparsed(self) -> bytes:
        return b""


def frames(data: bytes) -> None:
    """Messages that go around websockets are those that it makes, however they are cut."""
    data = data[:MOST]
    first = data[0] if data else 0
    size = 1 + first % 7
    cut = [data[1:][i : i + size] for i in range(0, len(data), size)]
    for is_compressed in (False, True):
        for pieces in ([data[1:]], cut):
            found = talk(pieces, is_compressed=is_compressed, is_direct=True)
            expected = talk(pieces, is_compressed=is_compressed, is_direct=False)
            assert found == expected, (found, expected)


def talk(pieces: list[bytes], *, is_compressed: bool, is_direct: bool) -> tuple[Any, ...]:
    """What a WebSocket makes of a client's frames: messages, its own frames, and the end.

    Args:
        pieces: the frames.
        is_compressed: whether compression was agreed on.
        is_direct: whether messages may go around websockets.
    """
    socket: Any = WebSocket(Carrier(is_compressed=is_compressed), SOURCE, {"path": "/"})
    handshake = socket._protocol.accept(Request("/", Headers(HANDSHAKE)))
    assert handshake.status_code == 101
    socket._state = OPEN
    for piece in pieces:
        (socket._take if is_direct else socket._take_frames)(piece)
    answers = b"".join(socket._protocol.data_to_send())
    return list(socket._messages), answers, socket._end, socket._protocol.state


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each for each in (requests, frames, proxy_header, forwarded, head)
}
