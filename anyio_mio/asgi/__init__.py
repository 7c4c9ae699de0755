"""Serve ASGI applications: HTTP/1.1 and WebSockets, on the server of `anyio_mio.serving`.

`server` has `serve()` and `run()`. Data flows down this list: `connection` reads the socket and
parses, `exchange` is one request and its `response`, `response_head` checks what the application
sends, `websocket` takes over a connection that becomes one. `site` holds what the connections
share, `lifespan` starts and stops the application, `client` closes connections, `refusal` has the
answers that the server gives itself, `options` checks the arguments, `statistics` counts requests.

Parts of these: `request_parser`, `scope`, `tls`, `proxy` and `proxy_protocol` (the client's address
behind a proxy), `files` (answers from a file), `frames` (of WebSockets), `errors`, `access_log`,
`background` (work after an answer), `bridge` (calls from tasks of asyncio), `threads`.

Rules:

* H1 One task a connection reads, calls the application, and writes; a request costs no task, no
  queue and no event, unless the application works on after its answer. What the application does
  not read stays in the socket, what the client does not read stops the application: back-pressure
  is the socket's own.
* H2 An answer that is not whole is never made to look whole; a request that is ambiguous is
  refused; every wait for a client has a limit.
* H3 It stands on `serving` alone: limits, TLS, stopping, workers and reload are the same code for a
  raw handler and for an application.
"""

from __future__ import annotations

try:
    import httptools as _httptools
    import websockets as _websockets
except ImportError as _error:
    raise ImportError(
        f"anyio_mio.asgi needs the package {_error.name!r}\n"
        "  right: pip install 'anyio-mio[asgi]', or '.[asgi]' in a checkout"
    ) from _error

from anyio_mio.asgi.errors import ApplicationError as ApplicationError
from anyio_mio.asgi.errors import ClientDisconnected as ClientDisconnected
from anyio_mio.asgi.options import Options as Options
from anyio_mio.asgi.server import run as run
from anyio_mio.asgi.server import serve as serve
from anyio_mio.asgi.statistics import RequestStatistics as RequestStatistics

__all__ = ["ApplicationError", "ClientDisconnected", "Options", "RequestStatistics", "run", "serve"]

del _httptools, _websockets
