"""The same echo server at its limit of open files: on Trio's backend it dies, on mio it lives.

    python examples/out_of_descriptors.py trio   # ends with EMFILE, and serves no client to the end
    python examples/out_of_descriptors.py mio    # serves all 200, some 50 at a time

`accept()` fails with EMFILE. On Trio that ends the task group; on mio the clients stay queued.
"""

from __future__ import annotations

import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from socket import create_connection
from subprocess import DEVNULL, PIPE, Popen

import anyio
from anyio.abc import SocketAttribute, SocketStream

import anyio_mio  # noqa: F401 - gives AnyIO the backend "mio"

CLIENTS, FILES = 200, 64


async def echo(stream: SocketStream) -> None:
    async with stream:
        await anyio.sleep(0.5)  # something that takes its time, such as a database
        await stream.send(await stream.receive())


async def serve() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        print(listener.extra(SocketAttribute.local_port), flush=True)
        await listener.serve(echo)


def is_served(port: int) -> bool:
    try:
        with create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"hello")
            return client.recv(16) == b"hello"
    except OSError:
        return False


def main(backend: str) -> None:
    command = [sys.executable, __file__, backend, "server"]
    with Popen(command, stdout=PIPE, stderr=DEVNULL) as server, ThreadPoolExecutor(CLIENTS) as pool:
        port = int(server.stdout.readline())  # type: ignore[union-attr] # it is a pipe
        served = sum(pool.map(is_served, [port] * CLIENTS))
        state = "lives" if is_served(port) else "is dead"
        print(f"{backend}: {served} of {CLIENTS} were served, and the server {state}")
        server.kill()


if __name__ == "__main__":
    if sys.argv[1:2] not in (["mio"], ["trio"], ["asyncio"]):
        sys.exit("usage: python examples/out_of_descriptors.py mio|trio|asyncio")
    anyio.run(serve, backend=sys.argv[1]) if sys.argv[2:] else main(sys.argv[1])
