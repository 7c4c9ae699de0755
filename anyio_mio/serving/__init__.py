"""Serve connections: limits, errors, TLS, and an orderly stop.

`server` has `serve_tcp()`, `serve_unix()` and `serve_listeners()`; `options` checks what they are
told, `tls` makes the handshakes, and `spare_descriptor` lets a server that has no descriptor left
close connections that it cannot serve.

Rules:

1. A handler's failure never ends the server (``handler_errors="log"``).
2. Stopping has one order: take what is queued, close the listeners, wait for the handlers during
   the grace period, cancel the rest, report.
3. A limit takes effect before `accept()`: what cannot be served stays in the system's queue.
"""

from __future__ import annotations

from anyio_mio.serving.server import AcceptErrorKind as AcceptErrorKind
from anyio_mio.serving.server import ListenerStatistics as ListenerStatistics
from anyio_mio.serving.server import ServeSummary as ServeSummary
from anyio_mio.serving.server import serve_listeners as serve_listeners
from anyio_mio.serving.server import serve_tcp as serve_tcp
from anyio_mio.serving.server import serve_unix as serve_unix

__all__ = [
    "ListenerStatistics",
    "ServeSummary",
    "AcceptErrorKind",
    "serve_listeners",
    "serve_tcp",
    "serve_unix",
]
