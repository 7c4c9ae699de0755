"""The options of `serve()`, with their defaults; they are checked once."""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypedDict

from anyio.abc import Listener

from anyio_mio.asgi.statistics import RequestStatistics
from anyio_mio.serving.options import ServeOptions, check_names

SECONDS: Final = ("keep_alive", "head_timeout", "body_timeout", "send_timeout")
SECONDS_OR_NONE: Final = ("ws_ping_interval", "ws_ping_timeout")

DEFAULT_TRUSTED: Final = ("127.0.0.1", "::1")


class HTTPOptions(TypedDict, total=False):
    """How HTTP and WebSockets are served; times are seconds, sizes are bytes.

    Attributes:
        root_path: the path below which the application is mounted; ``scope["root_path"]`` ("").
        headers: header fields that each answer gets, as pairs of text or bytes (none).
        date_header: send ``date`` unless the application does (True).
        server_header: send ``server`` unless the application does (True).
        lifespan: ``"on"``, ``"off"``, or ``"auto"``: an application that does not know lifespan
            runs without it (``"auto"``).
        keep_alive: how long a connection may wait for its next request (75).
        head_timeout: how long a client may take for a request's head (30).
        body_timeout: how long a client may send nothing in the middle of a body (60).
        send_timeout: how long a client may read nothing of its answer (60).
        max_head_size: the longest head of a request; beyond it the answer is 431 (65536).
        max_header_count: the most header fields of a request; beyond it 431 (128).
        max_body_size: the longest body of a request; beyond it 413; None for no limit (None).
        limit_concurrency: the most requests at once; beyond it 503; None for no limit (None).
        max_requests: stop after so many requests, in the same order as for a signal, so that a
            service manager starts the program again; None for no limit (None). From the last of
            them on, each answer ends its connection.
        max_requests_jitter: add up to so many to ``max_requests``, at random, so that servers that
            were started together do not stop together (0).
        ws_max_size: the longest message of a WebSocket; beyond it close code 1009 (16777216).
        ws_ping_interval: seconds between two pings; None for none (20).
        ws_ping_timeout: seconds that a pong may take; None for ever (20).
        ws_compression: compress messages where the client offers it (True).
        proxy_headers: believe ``X-Forwarded-For``, ``X-Forwarded-Proto`` and ``Forwarded`` of a
            trusted peer (True).
        proxy_protocol: read a PROXY header, version 1 or 2, from each trusted peer (False).
        trusted: addresses and networks of trusted proxies; ``"*"`` for all. Peers on a UNIX socket
            are trusted (``("127.0.0.1", "::1")``).
        access_log: ``"plain"`` or ``"json"``: one line for each answer, on the logger
            ``anyio_mio.access``; None for none (None).
    """

    root_path: str
    headers: Sequence[tuple[str | bytes, str | bytes]]
    date_header: bool
    server_header: bool
    lifespan: Literal["auto", "on", "off"]
    keep_alive: float
    head_timeout: float
    body_timeout: float
    send_timeout: float
    max_head_size: int
    max_header_count: int
    max_body_size: int | None
    limit_concurrency: int | None
    max_requests: int | None
    max_requests_jitter: int
    ws_max_size: int | None
    ws_ping_interval: float | None
    ws_ping_timeout: float | None
    ws_compression: bool
    proxy_headers: bool
    proxy_protocol: bool
    trusted: Iterable[str]
    access_log: Literal["plain", "json"] | None


class Options(HTTPOptions, ServeOptions, total=False):
    """All options of `serve()`: where to listen, `HTTPOptions`, and
    `anyio_mio.serving.ServeOptions`.

    Where to listen is one of three: ``host`` and ``port``, ``unix``, or ``listeners``.

    Attributes:
        host: an address or a name; None for all interfaces ("127.0.0.1").
        port: the port; 0 lets the system choose (8000).
        reuse_port: True to let other processes listen on the port as well (False).
        unix: a path for a UNIX socket, instead of host and port.
        unix_mode: the permissions of that path, such as ``0o660``; None to leave them (None).
        listeners: listeners that exist already, instead of host and port.
        backlog: how many connections may wait in the system's queue (65536).
        threads: how many threads serve; more than 1 needs a free-threaded build of Python. Each
            has a run, a lifespan and limits of its own (1).
        ssl_context: a context for servers, with a certificate; None for no TLS (None).
        handshake_timeout: seconds that a client has for its TLS handshake (10).
        statistics: where requests are counted, for dashboards; None to count nothing (None).
    """

    host: str | None
    port: int
    reuse_port: bool
    unix: str | os.PathLike[str] | None
    unix_mode: int | None
    listeners: Iterable[Listener[Any]] | None
    backlog: int
    threads: int
    ssl_context: ssl.SSLContext | None
    handshake_timeout: float
    statistics: RequestStatistics | None


@dataclass(frozen=True, slots=True)
class Settings:
    """The options, complete and checked; `HTTPOptions` says what each of them means."""

    root_path: str = ""
    headers: Sequence[tuple[str | bytes, str | bytes]] = ()
    date_header: bool = True
    server_header: bool = True
    lifespan: Literal["auto", "on", "off"] = "auto"
    keep_alive: float = 75.0
    head_timeout: float = 30.0
    body_timeout: float = 60.0
    send_timeout: float = 60.0
    max_head_size: int = 65536
    max_header_count: int = 128
    max_body_size: int | None = None
    limit_concurrency: int | None = None
    max_requests: int | None = None
    max_requests_jitter: int = 0
    ws_max_size: int | None = 16 * 1024 * 1024
    ws_ping_interval: float | None = 20.0
    ws_ping_timeout: float | None = 20.0
    ws_compression: bool = True
    proxy_headers: bool = True
    proxy_protocol: bool = False
    trusted: Iterable[str] = DEFAULT_TRUSTED
    access_log: Literal["plain", "json"] | None = None

    def __post_init__(self) -> None:
        for name in SECONDS:
            self._require(is_above_zero, name, "a number of seconds above 0", 30)
        for name in SECONDS_OR_NONE:
            self._require(or_none(is_above_zero), name, "seconds above 0, or None", 20)
        for name in ("max_head_size", "max_header_count"):
            self._require(is_positive, name, "1 or more", 100)
        for name in ("max_body_size", "limit_concurrency", "max_requests", "ws_max_size"):
            self._require(or_none(is_positive), name, "1 or more, or None", 1000)
        for name in ("date_header", "server_header", "ws_compression", "proxy_headers"):
            self._require(is_boolean, name, "True or False", False)
        self._require(is_boolean, "proxy_protocol", "True or False", True)
        self._require(is_count, "max_requests_jitter", "0 or more", 100)
        self._require(("auto", "on", "off").__contains__, "lifespan", "auto, on or off", "auto")
        self._require(
            (None, "plain", "json").__contains__, "access_log", "plain, json or None", "json"
        )
        self._require(is_text, "root_path", "text", "/api")
        if isinstance(self.trusted, str):
            raise TypeError(
                "trusted is a list of addresses\n"
                f"  wrong: trusted={self.trusted!r}\n"
                f"  right: trusted=[{self.trusted!r}]"
            )

    def _require(
        self, holds: Callable[[Any], bool], name: str, wanted: str, example: object
    ) -> None:
        """Raise ValueError, with what is right, unless a condition on an option holds."""
        value = getattr(self, name)
        if not holds(value):
            raise ValueError(f"{name} is {value!r}, not {wanted}\n  right: {name}={example!r}")

    def resolution(self) -> float:
        """Return the seconds between two checks of the clients' limits, from the shortest limit."""
        shortest = min(self.keep_alive, self.head_timeout, self.body_timeout, self.send_timeout)
        for value in (self.ws_ping_interval, self.ws_ping_timeout):
            shortest = min(shortest, value or math.inf)
        return min(max(shortest / 4, 0.05), 1.0)


def is_above_zero(value: object) -> bool:
    """Return whether it is a number above 0, and not infinite."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return 0 < value < math.inf


def is_count(value: object) -> bool:
    """Return whether it is an integer from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_positive(value: object) -> bool:
    """Return whether it is an integer from 1 on."""
    return is_count(value) and value != 0


def is_boolean(value: object) -> bool:
    """Return whether it is True or False."""
    return isinstance(value, bool)


def is_text(value: object) -> bool:
    """Return whether it is a str."""
    return isinstance(value, str)


def or_none(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    """Return a condition that also holds for None."""
    return lambda value: value is None or holds(value)


HTTP_NAMES: Final = frozenset(each.name for each in fields(Settings))

PLACES: Final = {
    "listeners": ("listeners",),
    "unix": ("unix", "unix_mode", "backlog"),
    "port": ("host", "port", "reuse_port", "backlog"),
}
"""The options of each way to say where to listen; the first that is given decides."""


def split(options: Mapping[str, Any]) -> tuple[Settings, dict[str, Any], dict[str, Any]]:
    """Sort options into those for HTTP, those that say where to listen, and the others.

    Raises:
        TypeError: there is no such option, or two of them exclude each other.
        ValueError: an option is out of range.
    """
    check_names(options, Options.__annotations__)
    rest = dict(options)
    http = {name: rest.pop(name) for name in options if name in HTTP_NAMES}
    return Settings(**http), take_place(rest), rest


def take_place(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options that say where to listen out of all of them.

    Raises:
        TypeError: they say it in two ways.
    """
    names = {name for each in PLACES.values() for name in each if name in options}
    place = {name: options.pop(name) for name in names}
    way = next((each for each in PLACES if place.get(each) is not None), "port")
    for other in sorted(names - {*PLACES[way]}):
        if place.pop(other) is not None:
            raise TypeError(
                f"{other!r} and {way!r} exclude each other\n"
                "  right: host and port, or unix, or listeners"
            )
    return place
