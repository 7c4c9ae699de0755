"""The example's server, fetched by httpx on Trio in the same run."""

from __future__ import annotations

import httpx
import pytest
import trio

import anyio_mio.trio as mio_trio
from examples import trio_h11_server
from tests.trio.running import run

REQUESTS = 40


async def address(nursery: trio.Nursery) -> tuple[str, int]:
    listeners: list[mio_trio.SocketListener] = await nursery.start(
        lambda task_status: mio_trio.serve_tcp(
            trio_h11_server.serve_connection, 0, host="127.0.0.1", task_status=task_status
        )
    )
    host, port = listeners[0].socket.getsockname()
    return host, port


@pytest.mark.usefixtures("place")
def test_httpx_fetches_from_it_over_many_connections() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            host, port = await address(nursery)
            async with (
                httpx.AsyncClient(base_url=f"http://{host}:{port}") as client,
                trio.open_nursery() as fetching,
            ):
                for number in range(REQUESTS):
                    fetching.start_soon(fetch, client, number)
            nursery.cancel_scope.cancel()

    async def fetch(client: httpx.AsyncClient, number: int) -> None:
        body = b"x" * (number * 1000)
        response = await client.post(f"/{number}", content=body)
        assert response.content == b"POST /%d\n%s" % (number, body)
        done.append(number)

    done: list[int] = []
    run(main)
    assert sorted(done) == list(range(REQUESTS))


def test_what_is_not_http_is_refused_with_the_reason() -> None:
    async def main() -> bytes:
        async with trio.open_nursery() as nursery:
            stream = await mio_trio.open_tcp_stream(*await address(nursery))
            async with stream:
                await stream.send_all(b"nonsense\r\n\r\n")
                answer = b"".join([data async for data in stream])
            nursery.cancel_scope.cancel()
        return answer

    assert run(main).startswith(b"HTTP/1.1 400")
