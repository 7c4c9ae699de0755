"""The options of a server, and the checks that run before it starts."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from signal import Signals
from typing import Any, Final, Literal, Required, Self, TypedDict

import anyio

from anyio_mio._net.acceptor import ErrorHook
from anyio_mio._net.arguments import check_count, check_handler, check_hook
from anyio_mio._net.arguments import check_names as check_names
from anyio_mio.serving.tls import check_server_context

HANDSHAKE_TIMEOUT: Final = 10.0
"""The default time, in seconds, that a client has for its TLS handshake."""


class ServeOptions(TypedDict, total=False):
    """The options of `anyio_mio.serve_tcp()`, `serve_unix()` and `serve_listeners()`.

    Attributes:
        accept_batch: The most connections to accept before other tasks run; None for 64. Use 1 if
            several processes share a socket.
        max_connections: The most connections that may be open at once. Further connections wait in
            the system's queue. None, the default, means no limit.
        shed: True to close connections that cannot be served, because of ``max_connections`` or
            because no descriptor is left. By default they stay in the system's queue.
        on_accept_error: Called as ``on_accept_error(error, kind)`` with each error of ``accept()``
            and its `AcceptErrorKind`. It may return another kind, which is used instead, or None to
            keep this kind.
        handler_errors: What happens if a handler raises. With ``"log"``, the default, the server
            logs the exception, closes the connection and continues. With ``"raise"`` the exception
            ends the server, as in AnyIO's ``listener.serve()``.
        grace: Seconds that the handlers have to finish when the server stops (10).
        queued: What happens to the connections in the system's queue when the server stops:
            ``"serve"`` (default) or ``"refuse"``.
        signals: Signals that stop the server, such as ``(signal.SIGTERM,)``. The first one begins a
            graceful shutdown, the second one ends the grace period.
        stop: An event that stops the server when it is set.
    """

    accept_batch: int | None
    max_connections: int | None
    shed: bool
    on_accept_error: ErrorHook | None
    handler_errors: Literal["log", "raise"]
    grace: float
    queued: Literal["serve", "refuse"]
    signals: Sequence[Signals]
    stop: anyio.Event | None


class TLSOptions(ServeOptions, total=False):
    """The options of a server whose clients use TLS.

    Attributes:
        ssl_context: A context for servers, with a certificate. Handlers then get a `TLSStream`.
            None for no TLS.
        handshake_timeout: Seconds that a client has for its handshake (10).
    """

    ssl_context: Required[ssl.SSLContext | None]
    handshake_timeout: float


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a server, checked, with their defaults; see `ServeOptions`.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option is out of range.
    """

    accept_batch: int | None = None
    max_connections: int | None = None
    shed: bool = False
    ssl_context: ssl.SSLContext | None = None
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    on_accept_error: ErrorHook | None = None
    handler_errors: Literal["log", "raise"] = "log"
    grace: float = 10.0
    queued: Literal["serve", "refuse"] = "serve"
    signals: Sequence[Signals] = ()
    stop: anyio.Event | None = None

    @classmethod
    def of(cls, handler: object, options: Mapping[str, Any]) -> Self:
        """Check a server's handler and options.

        Raises:
            TypeError: there is no such option, or an argument is of the wrong type.
            ValueError: an option is out of range.
        """
        check_handler(handler)
        check_names(options, [field.name for field in fields(cls)])
        return cls(**options)

    def __post_init__(self) -> None:
        check_count("accept_batch", self.accept_batch)
        check_count("max_connections", self.max_connections)
        check_seconds("handshake_timeout", self.handshake_timeout, least=1e-9)
        check_seconds("grace", self.grace, least=0)
        check_word("handler_errors", self.handler_errors, ("log", "raise"))
        check_word("queued", self.queued, ("serve", "refuse"))
        if not isinstance(self.shed, bool):
            raise TypeError(f"shed must be True or False, not {self.shed!r}\n  right: shed=True")
        if self.stop is not None and not isinstance(self.stop, anyio.Event):
            raise TypeError(
                f"stop must be an anyio.Event, not {self.stop!r}\n  right: anyio.Event()"
            )
        check_hook(self.on_accept_error)
        check_signals(self.signals)
        if self.ssl_context is not None:
            check_server_context(self.ssl_context)


def check_seconds(name: str, value: object, *, least: float) -> None:
    """Raise an error if ``value`` is not a number of seconds, or is below ``least``."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}\n  right: {name}=10")
    if not value >= least:
        adjective = "positive" if least else "zero or more"
        raise ValueError(f"{name} must be {adjective}, not {value}\n  right: {name}=10 (seconds)")


def check_word(name: str, value: object, words: tuple[str, str]) -> None:
    """Raise an error if ``value`` is neither of the two words."""
    if value not in words:
        right = " or ".join(map(repr, words))
        raise ValueError(f"{name} must be {right}, not {value!r}\n  right: {name}={words[0]!r}")


def check_signals(signals: object) -> None:
    """Raise an error if ``signals`` is not a tuple or list of signals."""
    if isinstance(signals, (tuple, list)) and all(isinstance(each, int) for each in signals):
        return
    raise TypeError(
        f"signals must be a tuple of signals, not {signals!r}\n"
        "  wrong: signals=signal.SIGTERM\n"
        "  right: signals=(signal.SIGTERM,)"
    )
