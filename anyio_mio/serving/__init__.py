"""Serve connections with limits, error handling, TLS, and a graceful shutdown.

`server` has `serve_tcp()`, `serve_unix()` and `serve_listeners()`. `listening` makes their
listeners. `options` checks their options. `tls` performs the TLS handshakes. `outcomes` counts how
handlers end. `threads` serves in several threads. `spare_descriptor` keeps one descriptor in
reserve, so that a server without a free descriptor can still close connections that it cannot
serve.

Rules:

1. A handler's failure never ends the server (``handler_errors="log"``).
2. A shutdown always has the same steps: accept the queued connections, close the listeners, wait
   for the handlers during the grace period, cancel the handlers that are left, report.
3. A limit takes effect before `accept()`: a connection that cannot be served stays in the system's
   queue.
"""

from __future__ import annotations

from anyio_mio._net.accept_errors import AcceptErrorKind as AcceptErrorKind
from anyio_mio._net.acceptor import ErrorHook as ErrorHook
from anyio_mio._net.acceptor import ListenerStatistics as ListenerStatistics
from anyio_mio._net.listeners import SocketListener as SocketListener
from anyio_mio._net.streams import SocketStream as SocketStream
from anyio_mio._net.unix_streams import UNIXSocketStream as UNIXSocketStream
from anyio_mio.serving.options import ServeOptions as ServeOptions
from anyio_mio.serving.options import TLSOptions as TLSOptions
from anyio_mio.serving.outcomes import ServeSummary as ServeSummary
from anyio_mio.serving.server import serve_listeners as serve_listeners
from anyio_mio.serving.server import serve_tcp as serve_tcp
from anyio_mio.serving.server import serve_unix as serve_unix

__all__ = [
    "AcceptErrorKind",
    "ErrorHook",
    "ListenerStatistics",
    "ServeOptions",
    "ServeSummary",
    "SocketListener",
    "SocketStream",
    "TLSOptions",
    "UNIXSocketStream",
    "serve_listeners",
    "serve_tcp",
    "serve_unix",
]
