"""What the connections of a server share: the application, the limits, and the time."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, final

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute

from anyio_mio.asgi.access_log import AccessLog
from anyio_mio.asgi.options import Settings
from anyio_mio.asgi.proxy import Trusted
from anyio_mio.asgi.statistics import RequestStatistics
from anyio_mio.asgi.tls import tls_extension
from anyio_mio.serving.threads import Run

Application: TypeAlias = Callable[
    [Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]

Handshake: TypeAlias = Callable[[ByteStream, bytes], Awaitable[ByteStream]]
"""Makes the TLS handshake of a stream, of which the beginning was read already."""

NEVER: Final = math.inf

ASGI: Final = {"version": "3.0", "spec_version": "2.4"}


@final
class Site:
    """One application as it is served.

    Attributes:
        app: the application.
        settings: the options.
        state: what lifespan's startup left for the requests.
        clients: the open connections.
        tick: the time, in steps of ``resolution`` seconds.
        head_due: the tick until which a head that begins now must be complete; ``idle_due``,
            ``body_due`` and ``send_due`` likewise for the next request, the next piece of a body,
            and for the client to read.
        default_fields: header fields for each answer, each with CRLF before it.
        is_stopping: whether each answer is the last one of its connection.
        trusted: the proxies whose fields are applied.
        access_log: writes a line for each answer; None for no log.
        shake_hands: makes the TLS handshake of a stream; None unless PROXY headers come before it.
        statistics: counts requests; None if nothing reads them.
        run: the run that serves; a task of asyncio calls only where it has a loop for asyncio.
        is_watched: whether requests are counted, limited or logged.
        answered: connections whose answer was complete just now; the application may still work on.
        has_answered: is set when there is one of them.
        requests: how many there were; ``active`` are with the application now. Counted only where
            they are watched.
    """

    __slots__ = (
        "_body_ticks",
        "_fields",
        "_head_ticks",
        "_idle_ticks",
        "_last_request",
        "_send_ticks",
        "access_log",
        "active",
        "answered",
        "app",
        "body_due",
        "clients",
        "default_fields",
        "has_answered",
        "head_due",
        "idle_due",
        "is_stopping",
        "is_watched",
        "requests",
        "resolution",
        "run",
        "send_due",
        "settings",
        "shake_hands",
        "state",
        "statistics",
        "stop",
        "tick",
        "trusted",
    )

    def __init__(
        self,
        app: Application,
        settings: Settings,
        stop: anyio.Event,
        run: Run,
        statistics: RequestStatistics | None = None,
    ) -> None:
        self.app = app
        self.settings = settings
        self.stop = stop
        self.state: dict[str, Any] = {}
        self.clients: set[Any] = set()
        self.run = run
        self.shake_hands: Handshake | None = None
        self.is_stopping = False
        self.active = self.requests = 0
        self.answered: set[Any] = set()
        self.has_answered = anyio.Event()
        self.trusted = Trusted(settings.trusted)
        self.access_log = AccessLog(settings.access_log) if settings.access_log else None
        self.statistics = statistics
        watchers = (settings.limit_concurrency, settings.max_requests, self.access_log, statistics)
        self.is_watched = any(watcher is not None for watcher in watchers)
        self.resolution = settings.resolution()
        self._head_ticks = self.ticks(settings.head_timeout)
        self._idle_ticks = self.ticks(settings.keep_alive)
        self._body_ticks = self.ticks(settings.body_timeout)
        self._send_ticks = self.ticks(settings.send_timeout)
        self._last_request = requests_until_stop(settings)
        self._fields = b"".join(b"\r\n" + field_line(*pair) for pair in settings.headers)
        if settings.server_header:
            self._fields += b"\r\nserver: anyio-mio"
        self._set_time(0)

    def _set_time(self, tick: int) -> None:
        self.tick = tick
        self.head_due = tick + self._head_ticks
        self.idle_due = tick + self._idle_ticks
        self.body_due = tick + self._body_ticks
        self.send_due = tick + self._send_ticks
        self._set_date()

    def ticks(self, seconds: float) -> int:
        """Return the number of ticks after which at least ``seconds`` have passed."""
        return math.ceil(seconds / self.resolution) + 1

    def advance(self) -> None:
        """Count one more tick."""
        self._set_time(self.tick + 1)

    def count_request(self) -> None:
        """Count a request that begins; from the last one on, each answer ends its connection."""
        self.requests += 1
        if self.requests >= self._last_request:
            self.is_stopping = True

    def take_answered(self) -> set[Any]:
        """Return the connections that were answered since the last time."""
        answered, self.answered = self.answered, set()
        self.has_answered = anyio.Event()
        return answered

    def stop_after_last_request(self) -> None:
        """Stop the server if it has served as many requests as it may."""
        if self.requests >= self._last_request:
            self.stop.set()

    def _set_date(self) -> None:
        self.default_fields = self._fields
        if self.settings.date_header:
            now = email.utils.formatdate(time.time(), usegmt=True)
            self.default_fields = b"\r\ndate: " + now.encode() + self._fields

    def base_scope(self, stream: ByteStream) -> dict[str, Any]:
        """Return a scope with the values that all requests of a connection share.

        The keys that differ for each request are there too, as None.
        """
        ssl_object = stream.extra(TLSAttribute.ssl_object, None)
        extensions: dict[str, Any] = {
            "http.response.pathsend": {},
            "http.response.zerocopysend": {},
        }
        if ssl_object is not None:
            extensions["tls"] = tls_extension(ssl_object)
        return {
            "type": "http",
            "asgi": ASGI.copy(),
            "scheme": "https" if ssl_object is not None else "http",
            "server": address_of(stream, SocketAttribute.local_address),
            "client": address_of(stream, SocketAttribute.remote_address),
            "root_path": self.settings.root_path,
            "extensions": extensions,
            "http_version": None,
            "method": None,
            "path": None,
            "raw_path": None,
            "query_string": None,
            "headers": None,
            "state": None,
        }


def requests_until_stop(settings: Settings) -> float:
    """Return how many requests to serve; inf for no limit."""
    if settings.max_requests is None:
        return NEVER
    return settings.max_requests + random.randint(0, settings.max_requests_jitter)


def address_of(stream: ByteStream, attribute: Any) -> tuple[str, int | None] | None:
    """Return a host and a port, a path and None, or None if it has no address."""
    try:
        address = stream.extra(attribute, None)
    except (OSError, anyio.ClosedResourceError):
        return None
    if isinstance(address, tuple):
        return address[0], address[1]
    return (address, None) if address else None


def field_line(name: str | bytes, value: str | bytes) -> bytes:
    """Return one header field of the options.

    Raises:
        ValueError: it would be more than one line.
    """
    line = b"%b: %b" % tuple(
        each.encode("latin-1") if isinstance(each, str) else each for each in (name, value)
    )
    if b"\r" in line or b"\n" in line:
        raise ValueError(f"headers: {line!r} is more than one line\n  right: ('x-name', 'value')")
    return line
