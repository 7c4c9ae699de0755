"""The same echo server at its limit of open files: on Trio's backend it dies, on mio it lives.

    python examples/out_of_descriptors.py   # first on Trio's backend, then on mio

`accept()` fails with EMFILE. On Trio that ends the task group; on mio the clients stay queued.
"""

import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
    with suppress(OSError), create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"hello")
        return client.recv(16) == b"hello"
    return False


def show(backend: str) -> None:
    command = [sys.executable, __file__, backend, "server"]
    with Popen(command, stdout=PIPE, stderr=DEVNULL) as server, ThreadPoolExecutor(CLIENTS) as pool:
        port = int(server.stdout.readline())  # type: ignore[union-attr] # it is a pipe
        served = sum(pool.map(is_served, [port] * CLIENTS))
        state = "lives" if is_served(port) else "is dead"
        print(f"{backend}: {served} of {CLIENTS} were served, and the server {state}", flush=True)
        server.kill()


if __name__ == "__main__":
    if sys.argv[2:] == ["server"]:
        anyio.run(serve, backend=sys.argv[1])
    elif not {*sys.argv[1:]} <= {"mio", "trio", "asyncio"}:
        sys.exit("usage: python examples/out_of_descriptors.py [mio|trio|asyncio]")
    else:
        for name in sys.argv[1:] or ["trio", "mio"]:
            show(name)
