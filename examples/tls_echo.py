"""An echo server that speaks TLS.

    openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out cert.pem
    python examples/tls_echo.py cert.pem key.pem     # serves 127.0.0.1:7007 until Ctrl-C
    openssl s_client -quiet -connect 127.0.0.1:7007

The handshake runs in the connection's own task and has a time limit, so a client that connects and
says nothing costs a connection and delays no other. A client that speaks no TLS is counted and
logged.
"""

from __future__ import annotations

import signal
import ssl
import sys
from typing import Any

import anyio
from anyio.abc import TaskStatus
from anyio.streams.tls import TLSAttribute, TLSStream

import anyio_mio


async def echo(stream: TLSStream) -> None:
    print("spoken:", stream.extra(TLSAttribute.tls_version))
    async for data in stream:
        await stream.send(data)


async def main(
    certificate: str,
    key: str,
    port: int = 7007,
    *,
    task_status: TaskStatus[Any] = anyio.TASK_STATUS_IGNORED,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    await anyio_mio.serve_tcp(
        echo,
        port,
        host="127.0.0.1",
        ssl_context=context,
        handshake_timeout=5,
        signals=(signal.SIGINT, signal.SIGTERM),
        task_status=task_status,
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/tls_echo.py cert.pem key.pem")
    anyio_mio.run(main, *sys.argv[1:])
