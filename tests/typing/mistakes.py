"""Calls that a type checker must refuse; each line that is wrong says so.

`test_types.py` runs pyright and mypy on this file. It is never imported.
"""

import signal
import ssl
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketStream
from anyio.streams.tls import TLSStream

import anyio_mio
import anyio_mio.asgi
from anyio_mio import lowlevel


async def echo(stream: SocketStream) -> None: ...
async def any_bytes(stream: ByteStream) -> None: ...
async def secret(stream: TLSStream) -> None: ...
async def number(value: int) -> str:
    return str(value)


async def application(scope: Any, receive: Any, send: Any) -> None: ...


def not_async(stream: SocketStream) -> None: ...


async def right(context: ssl.SSLContext) -> None:
    await anyio_mio.serve_tcp(echo, 8000)
    await anyio_mio.serve_tcp(any_bytes, 8000, max_connections=3, grace=1.5)
    await anyio_mio.serve_tcp(secret, 8000, ssl_context=context, handshake_timeout=3)
    await anyio_mio.serve_tcp(any_bytes, 8000, ssl_context=context)
    await anyio_mio.serve_unix(echo, "/run/echo", signals=(signal.SIGTERM,))
    listener = await anyio.create_tcp_listener()
    summary = await anyio_mio.serve_listeners(echo, [listener], handler_errors="raise")
    total: int = summary.accepted
    name: str = lowlevel.current_task().name
    del total, name


async def right_application(context: ssl.SSLContext) -> None:
    await anyio_mio.asgi.serve(application, port=0, queued="refuse", keep_alive=5, lifespan="off")
    await anyio_mio.asgi.serve(application, unix="/run/app", ssl_context=context, max_requests=9)
    total: int = anyio_mio.asgi.run(application, signals=(signal.SIGTERM,)).accepted
    del total


def right_runs() -> None:
    text: str = anyio_mio.run(number, 1, slow_step=0.1)
    del text
    anyio_mio.run(anyio.sleep, 1, selector="level", checkpoints="strict")


async def wrong(context: ssl.SSLContext) -> None:
    await anyio_mio.serve_tcp(echo, 8000, max_conections=3)  # wrong
    await anyio_mio.serve_tcp(echo, 8000, grace="ten")  # wrong
    await anyio_mio.serve_tcp(echo, "8000")  # wrong
    await anyio_mio.serve_tcp(echo)  # wrong
    await anyio_mio.serve_tcp(not_async, 8000)  # wrong
    await anyio_mio.serve_tcp(number, 8000)  # wrong
    await anyio_mio.serve_tcp(secret, 8000)  # wrong
    await anyio_mio.serve_tcp(echo, 8000, ssl_context=context)  # wrong
    await anyio_mio.serve_tcp(echo, 8000, signals=signal.SIGTERM)  # wrong
    await anyio_mio.serve_tcp(echo, 8000, handler_errors="ignore")  # wrong
    await anyio_mio.serve_unix(echo, 8000)  # wrong
    await anyio_mio.serve_listeners(echo, 8000)  # wrong


def wrong_runs() -> None:
    anyio_mio.run(number, 1, 2)  # wrong
    anyio_mio.run(number, "1")  # wrong
    anyio_mio.run(number(1))  # wrong
    anyio_mio.run(anyio_mio.serve_tcp, echo)  # wrong
    anyio_mio.run(number, 1, slow_stepp=1)  # wrong
    anyio_mio.run(number, 1, checkpoints="never")  # wrong


async def wrong_application() -> None:
    await anyio_mio.asgi.serve(application, keepalive=5)  # wrong
    await anyio_mio.asgi.serve(application, lifespan="maybe")  # wrong
    await anyio_mio.asgi.serve(application, port="8000")  # wrong
    await anyio_mio.asgi.serve(echo)  # wrong
    anyio_mio.asgi.run(application, trusted=5)  # wrong
