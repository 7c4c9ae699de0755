"""Parse what a client sends: requests, and the errors in them.

httptools (llhttp, in its strict mode) parses; here are its callbacks, and the rules that it leaves
to the server: versions and methods, one ``Host``, no coding but chunked, and limits.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn, final

import httptools

from anyio_mio.asgi.exchange import Exchange, Source
from anyio_mio.asgi.refusal import KNOWN_HOSTS, Refused, is_host, status_for, status_for_coding
from anyio_mio.asgi.scope import TargetError, split_target, with_host
from anyio_mio.asgi.site import Site

METHODS: Final[dict[bytes, str]] = {
    name.encode(): name
    for name in (
        *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY", "COPY"),
        *("LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK", "BIND", "REBIND"),
        *("UNBIND", "ACL", "REPORT", "MKACTIVITY", "CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY"),
        *("SUBSCRIBE", "UNSUBSCRIBE", "PURGE", "MKCALENDAR", "LINK", "UNLINK"),
    )
}
"""The methods of HTTP that the parser knows. It knows those of RTSP besides, and CONNECT."""

VERSION: Final = b" HTTP/1.1\r\n"
"""The end of nearly every request line."""

SLASH: Final = ord("/")
HASH: Final = ord("#")
"""A number, because ``number in data`` takes 17 ns, and ``b"#" in data`` takes 190."""

PIECE: Final = 16384
"""Bytes that are parsed at once."""

NOTED: Final = frozenset(
    (b"host", b"expect", b"upgrade", b"transfer-encoding", b"te", b"content-length")
)
"""Fields of a request that the server itself reads."""


LOWER: Final[dict[bytes, bytes]] = {
    spelling: name
    for name in (
        *(*NOTED, b"accept", b"accept-encoding", b"accept-language", b"authorization"),
        *(b"cache-control", b"connection", b"content-type", b"cookie", b"dnt", b"forwarded"),
        *(b"if-modified-since", b"if-none-match", b"origin", b"pragma", b"priority", b"range"),
        *(b"referer", b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user"),
        *(b"upgrade-insecure-requests", b"user-agent", b"x-forwarded-for", b"x-forwarded-host"),
        *(b"x-forwarded-proto", b"x-real-ip", b"x-request-id"),
    )
    for spelling in (name, name.title())
}
"""Names of common fields in two spellings. Their hashes are known: it saves 35 ns a field."""


@final
class RequestParser:
    """Makes requests of bytes.

    Attributes:
        requests: requests whose head has come and that wait for their turn.
        is_idle: whether no byte of a next request has come.
        unparsed: bytes behind the last request that was parsed.
        fault: the status for what cannot be parsed; 0 if there is nothing of the kind.
    """

    __slots__ = (
        "_current",
        "_headers",
        "_hidden_body",
        "_is_upgraded",
        "_line",
        "_max_count",
        "_max_head",
        "_noted",
        "_noted_names",
        "_parser",
        "_refusal",
        "_settings",
        "_source",
        "_stalled",
        "_url",
        "fault",
        "is_idle",
        "requests",
        "unparsed",
    )

    def __init__(self, site: Site, source: Source, noted_names: frozenset[bytes] = NOTED) -> None:
        self._settings = site.settings
        self._source = source
        self._noted_names = noted_names
        self.requests: list[Exchange] = []  # seldom more than one; an empty deque has 600 bytes
        self.is_idle = True
        self.fault = 0
        self._refusal = 0  # what a callback has just refused
        self._parser: Any = httptools.HttpRequestParser(self)
        self._current: Exchange | None = None  # the request that is being parsed, from its body on
        self._line: bytes | memoryview = b""  # begins with the request line, if that is known
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._noted: list[tuple[bytes, bytes]] = []
        self._stalled = 0  # bytes since a head, or a piece of a body, was complete
        self._is_upgraded = False
        self._hidden_body = b""  # how the body is framed that the parser does not see
        self._max_head = site.settings.max_head_size
        self._max_count = site.settings.max_header_count
        self.unparsed: bytes | memoryview = b""

    @property
    def has_next(self) -> bool:
        """Whether bytes behind the current request have come already."""
        return bool(self.requests or self.unparsed or self.fault)

    def take_unparsed(self) -> bytes | memoryview:
        """Return the bytes that came and are not parsed, and forget them."""
        rest, self.unparsed = self.unparsed, b""
        return rest

    def close(self) -> None:
        """Drop the callbacks: they and the parser refer to each other."""
        self._parser = None

    def feed(self, data: bytes | memoryview) -> None:
        """Parse a piece; the callbacks take what is in it.

        A client that pipelines may send hundreds of requests at once, each of which takes
        many times its size in memory: what is behind the first `PIECE` bytes stays unparsed.
        """
        if len(data) > PIECE and not (self._current and self._current.awaited >= len(data)):
            self.unparsed = memoryview(data)[PIECE:]
            data = memoryview(data)[:PIECE]
        self._stalled += len(data)
        rest = None
        self._line = data if self.is_idle else b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = memoryview(data)[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self.fault = self._refusal or status_for(error, b"" if self.requests else data)
        if self._stalled > self._max_head:
            self.fault = 431 if self._current is None else 400
        if rest is not None:
            self._feed_behind_upgrade(rest)

    def _feed_behind_upgrade(self, rest: memoryview) -> None:
        """Go on behind the head of a request to upgrade, at which the parser stops.

        WebSocket is the only other protocol here; any other such request is an ordinary one. The
        parser takes its body for the other protocol's, so another parser reads it, behind a head
        that says as much of the body and nothing of an upgrade.
        """
        if self._is_upgraded:
            self.unparsed = bytes(rest) + bytes(self.unparsed)
            return
        if self._hidden_body:
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % self._hidden_body)
        if rest:
            self._stalled -= len(rest)  # they are counted already
            self.feed(rest)

    # The parser's callbacks. They say in `_refusal` what they refuse: the exception that the parser
    # raises names another one as its context if the application receives in an ``except`` block.

    def _refuse(self, status: int) -> NoReturn:
        """Refuse the request, within a callback."""
        self._refusal = status
        raise Refused(status)

    def on_url(self, url: bytes) -> None:
        """Take a part of the target; more may come with the next piece of data."""
        self._url += url
        self.is_idle = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field of the head; ignore one behind a chunked body."""
        name = LOWER.get(name) or name.lower()
        value = value.rstrip()  # the parser leaves the blanks behind a value
        self._headers.append((name, value))
        if name in self._noted_names:
            self._noted.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the complete head, and queue the request."""
        if self._hidden_body:  # the head was made up
            self._hidden_body = self._url = b""
            self._headers, self._noted = [], []
            return
        parser = self._parser
        url = self._url
        verb = parser.get_method()
        size = len(verb)
        end = size + 1 + len(url)
        # Asking the parser for the version takes 340 ns, these comparisons 140. The data begins
        # with the method, so the method and the target say where the version stands.
        if self._line[end : end + 11] == VERSION and self._line[:size] == verb:
            version = "1.1"
        else:
            version = parser.get_http_version()
            if version != "1.1" and version != "1.0":
                self._refuse(505)
        self._line = b""
        method = METHODS.get(verb)
        if method is None:
            self._refuse(501)
        if self._stalled > self._max_head or len(self._headers) > self._max_count:
            self._check_size()
        keeps_alive = parser.should_keep_alive()
        exchange = Exchange(self._source, method, version, keeps_alive, url, self._headers)
        if url[0] == SLASH and HASH not in url:
            exchange.path, _, exchange.query = url.partition(b"?")
        else:
            self._take_other_target(exchange)
        noted = self._noted
        if len(noted) != 1 or noted[0][0] != b"host" or noted[0][1] not in KNOWN_HOSTS:
            self._heed(exchange, noted)
        self._url = b""
        self._headers = []
        self._noted = []
        self._stalled = 0
        self._current = exchange
        self.requests.append(exchange)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the current request's body."""
        exchange = self._current
        assert exchange is not None
        if exchange.chunks:
            exchange.chunks.append(body)
        else:
            exchange.chunks = [body]
        exchange.size += len(body)
        exchange.awaited -= len(body)
        self._stalled = 0
        limit = self._settings.max_body_size
        if limit is not None and exchange.size > limit:
            self._refuse(413)

    def on_message_complete(self) -> None:
        """Note that the whole request has arrived."""
        if self._hidden_body:
            return
        exchange = self._current
        assert exchange is not None
        exchange.is_complete = True
        exchange.expects = False
        self._current = None
        self.is_idle = True
        if self._headers:  # trailers, which are ignored
            self._headers = []
            self._noted = []

    def _check_size(self) -> None:
        """Refuse a head that is too long; `_stalled` may count bytes before and behind it."""
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > self._max_head or len(self._headers) > self._max_count:
            self._refuse(431)

    def _take_other_target(self, exchange: Exchange) -> None:
        """Split a target that is not a plain path."""
        try:
            exchange.path, exchange.query, host = split_target(exchange.url, exchange.method)
        except TargetError:
            self._refuse(400)
        if host is not None:
            exchange.headers = with_host(exchange.headers, host)

    def _heed(  # noqa: C901 - every request with a body comes here
        self, exchange: Exchange, noted: list[tuple[bytes, bytes]]
    ) -> None:
        """Apply the fields that concern the server."""
        hosts = 0
        upgrade = None
        for name, value in noted:
            if name == b"host":
                hosts += 1
                if value not in KNOWN_HOSTS and not is_host(value):
                    self._refuse(400)
            elif name == b"content-length":
                exchange.awaited = int(value)
                limit = self._settings.max_body_size
                if limit is not None and exchange.awaited > limit:
                    self._refuse(413)
            elif name == b"upgrade":
                upgrade = value
            else:
                self._heed_other(exchange, name, value)
        if hosts > 1 or (not hosts and exchange.version == "1.1"):
            self._refuse(400)
        if upgrade is not None:
            self._take_upgrade(exchange, upgrade)

    def _heed_other(self, exchange: Exchange, name: bytes, value: bytes) -> None:
        """Apply a field about the body, or about what the client supports."""
        if name == b"transfer-encoding":
            status = status_for_coding(value, exchange.version)
            if status:
                self._refuse(status)
        elif name == b"expect":
            exchange.expects = exchange.version == "1.1" and value.lower() == b"100-continue"
        elif name == b"te":
            exchange.takes_trailers = exchange.version == "1.1" and b"trailers" in value.lower()
        else:
            exchange.forwarded = [*(exchange.forwarded or ()), (name, value)]

    def _take_upgrade(self, exchange: Exchange, value: bytes) -> None:
        """Note a request for a WebSocket; any other upgrade is an ordinary request."""
        if not self._parser.should_upgrade():
            return
        if exchange.awaited:
            self._hidden_body = b"content-length: %d" % exchange.awaited
        elif any(name == b"transfer-encoding" for name, _ in self._noted):
            self._hidden_body = b"transfer-encoding: chunked"
        elif value.lower() == b"websocket" and exchange.method == "GET":
            exchange.wants_websocket = self._is_upgraded = exchange.version == "1.1"
