"""httpx on mio: many requests at once over a few connections, with one import more.

    pip install httpx
    python examples/http_client.py https://example.org https://www.python.org
    python examples/http_client.py       # needs no internet: asks a server of its own

httpx knows only asyncio and Trio by name. `import anyio_mio` teaches it, and httpx2, the third one;
nothing else in the program says so. ANYIO_MIO_COMPAT=0 would turn that off.
"""

from __future__ import annotations

import sys

import anyio
import httpx
from anyio.abc import SocketAttribute, SocketStream

import anyio_mio

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"


async def answer(stream: SocketStream) -> None:
    """The smallest server that httpx is content with; it keeps connections alive."""
    async with stream:
        async for _ in stream:
            await stream.send(ANSWER)


async def fetch_all(urls: list[str]) -> dict[str, int]:
    lengths: dict[str, int] = {}
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=10)) as client:

        async def fetch(url: str) -> None:
            response = await client.get(url, follow_redirects=True)
            lengths[url] = len(response.content)
            print(response.status_code, len(response.content), url)

        async with anyio.create_task_group() as group:
            for url in urls:
                group.start_soon(fetch, url)
    return lengths


async def main(*urls: str) -> dict[str, int]:
    if urls:
        return await fetch_all(list(urls))
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        port = listener.extra(SocketAttribute.local_port)
        lengths = await fetch_all([f"http://127.0.0.1:{port}/{page}" for page in range(20)])
        group.cancel_scope.cancel()
    return lengths


if __name__ == "__main__":
    anyio_mio.run(main, *sys.argv[1:])
