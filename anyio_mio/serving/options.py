"""How to serve: the choices of a server, checked."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from signal import Signals
from typing import Literal

import anyio

from anyio_mio._net.listeners import ErrorHook


@dataclass(frozen=True, slots=True)
class Policy:
    """The choices; `anyio_mio.serve_tcp()` documents each of them."""

    accept_batch: int | None = None
    max_connections: int | None = None
    shed: bool = False
    ssl_context: ssl.SSLContext | None = None
    handshake_timeout: float = 10.0
    on_accept_error: ErrorHook | None = None
    handler_errors: Literal["log", "raise"] = "log"
    grace: float = 10.0
    queued: Literal["serve", "refuse"] = "serve"
    signals: tuple[Signals, ...] = ()
    stop: anyio.Event | None = None

    def __post_init__(self) -> None:
        if self.accept_batch is not None and self.accept_batch < 1:
            raise ValueError("accept_batch must be at least 1\n  right: accept_batch=16, or None")
        if self.max_connections is not None and self.max_connections < 1:
            raise ValueError("max_connections must be at least 1\n  right: max_connections=1000")
        if not self.handshake_timeout > 0:
            raise ValueError("handshake_timeout must be positive\n  right: 10 (seconds)")
        if not self.grace >= 0:
            raise ValueError("grace must not be negative\n  right: grace=10 (seconds)")
        if self.handler_errors not in ("log", "raise"):
            raise ValueError(f"handler_errors is {self.handler_errors!r}\n  right: 'log', 'raise'")
        if self.queued not in ("serve", "refuse"):
            raise ValueError(f"queued is {self.queued!r}\n  right: 'serve' or 'refuse'")
