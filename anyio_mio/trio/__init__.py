"""Use mio's sockets in a Trio program, inside ``trio.run``.

    from anyio_mio.trio import serve_tcp        # instead of: from trio import serve_tcp

    async def echo(stream):
        async for data in stream:
            await stream.send_all(data)

    trio.run(serve_tcp, echo, 8000)

The names, signatures, exceptions and semantics are Trio's. Streams are
`trio.abc.HalfCloseableStream`, listeners `trio.abc.Listener`, and `trio.SSLStream` works over them.
Tasks, time and cancellation are Trio's. Three things change: how a socket waits
(`anyio_mio.trio.hub`), when an operation yields (`anyio_mio.trio.streams`) and how connections are
accepted (`anyio_mio.trio.serving`, `anyio_mio.trio.listeners`).

`opening` connects and listens; `waits` waits for descriptors that the program owns. Below them
`scheduler` adapts Trio to the reactor, `registration` waits in one of two places, and `nesting`
tests whether one poller can watch another.

Rules:

* T1 Errors are Trio's own classes. The clock, the resolver and the poller of foreign descriptors
  are Trio's too: `wait_readable`, `wait_writable` and `notify_closing` are `trio.lowlevel`'s.
* T2 A socket has one owner. A stream or listener takes over the Trio socket that it is made of. Its
  attribute `socket` returns a Trio socket again; from then on it waits where Trio's own do.
* T3 Every operation checks for cancellation. A receive is a schedule point, and the next sends of
  its stream need not be.
* T4 A run leaves nothing behind: no descriptor, no task, no instrument, however it ends.
"""

from __future__ import annotations

try:
    import trio as _trio
except ImportError as _error:
    raise ImportError(
        "anyio_mio.trio needs the package 'trio'\n"
        "  right: pip install 'anyio-mio[trio]', or '.[trio]' in a checkout"
    ) from _error

from anyio_mio._net.accept_errors import AcceptErrorKind as AcceptErrorKind
from anyio_mio._net.acceptor import ListenerStatistics as ListenerStatistics
from anyio_mio.trio.hub import HubStatistics as HubStatistics
from anyio_mio.trio.hub import current_statistics as current_statistics
from anyio_mio.trio.listeners import SocketListener as SocketListener
from anyio_mio.trio.opening import open_tcp_listeners as open_tcp_listeners
from anyio_mio.trio.opening import open_tcp_stream as open_tcp_stream
from anyio_mio.trio.opening import open_unix_listener as open_unix_listener
from anyio_mio.trio.opening import open_unix_socket as open_unix_socket
from anyio_mio.trio.serving import serve_listeners as serve_listeners
from anyio_mio.trio.serving import serve_tcp as serve_tcp
from anyio_mio.trio.serving import serve_unix as serve_unix
from anyio_mio.trio.streams import SocketStream as SocketStream
from anyio_mio.trio.waits import notify_closing as notify_closing
from anyio_mio.trio.waits import wait_readable as wait_readable
from anyio_mio.trio.waits import wait_writable as wait_writable

__all__ = [
    "serve_tcp",
    "serve_unix",
    "serve_listeners",
    "open_tcp_listeners",
    "open_tcp_stream",
    "open_unix_listener",
    "open_unix_socket",
    "SocketStream",
    "SocketListener",
    "wait_readable",
    "wait_writable",
    "notify_closing",
    "current_statistics",
    "HubStatistics",
    "ListenerStatistics",
    "AcceptErrorKind",
]

del _trio
