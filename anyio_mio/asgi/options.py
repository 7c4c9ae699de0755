"""What `serve()` can be told: the options with their defaults, checked once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypedDict

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
        max_requests: stop after so many requests; None for no limit (None).
        max_requests_jitter: add up to so many to ``max_requests``, by chance (0).
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
        for name in ("keep_alive", "head_timeout", "body_timeout", "send_timeout"):
            require(getattr(self, name) > 0, name, getattr(self, name), "seconds above 0")
        for name in ("ws_ping_interval", "ws_ping_timeout"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "seconds above 0, or None")
        for name in ("max_head_size", "max_header_count"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("max_body_size", "limit_concurrency", "max_requests", "ws_max_size"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "1 or more, or None")
        require(self.max_requests_jitter >= 0, "max_requests_jitter", self.max_requests_jitter, "0")
        require(self.lifespan in ("auto", "on", "off"), "lifespan", self.lifespan, "'auto'")
        require(self.access_log in (None, "plain", "json"), "access_log", self.access_log, "'json'")
        if isinstance(self.trusted, str):
            raise TypeError(
                "trusted is a list of addresses\n"
                f"  wrong: trusted={self.trusted!r}\n"
                f"  right: trusted=[{self.trusted!r}]"
            )

    def resolution(self) -> float:
        """Return seconds between two looks at the clients' limits: fine enough for the shortest."""
        shortest = min(self.keep_alive, self.head_timeout, self.body_timeout, self.send_timeout)
        for value in (self.ws_ping_interval, self.ws_ping_timeout):
            shortest = min(shortest, value or math.inf)
        return min(max(shortest / 4, 0.05), 1.0)


def require(holds: bool, name: str, value: object, right: str) -> None:
    """Raise ValueError, with what is right, unless a condition on an option holds."""
    if not holds:
        raise ValueError(f"{name} is {value!r}\n  right: {name}={right}")


HTTP_NAMES: Final = frozenset(each.name for each in fields(Settings))


def split(options: dict[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Return the settings for HTTP, and the options that `anyio_mio.serving` takes."""
    ours = {name: value for name, value in options.items() if name in HTTP_NAMES}
    rest = {name: value for name, value in options.items() if name not in HTTP_NAMES}
    return Settings(**ours), rest
