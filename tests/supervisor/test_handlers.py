"""The built-in handlers, over memory streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from anyio_mio._supervisor.handlers import discard, echo, http_hello

pytestmark = pytest.mark.anyio


class MemoryEnd(ByteStream):
    """One end of a byte pipe in both directions."""

    def __init__(
        self,
        send: MemoryObjectSendStream[bytes],
        receive: MemoryObjectReceiveStream[bytes],
    ) -> None:
        self._send, self._receive = send, receive

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._receive.receive()

    async def send(self, item: bytes) -> None:
        await self._send.send(item)

    async def send_eof(self) -> None:
        self._send.close()

    async def aclose(self) -> None:
        self._send.close()
        self._receive.close()


async def conversation(
    handler: Callable[[ByteStream], Awaitable[None]], *messages: bytes
) -> list[bytes]:
    """Send the messages, then end; what came back until the handler ended."""
    to_server, from_client = anyio.create_memory_object_stream[bytes](10)
    to_client, from_server = anyio.create_memory_object_stream[bytes](10)
    server, client = MemoryEnd(to_client, from_client), MemoryEnd(to_server, from_server)
    for message in messages:
        await client.send(message)
    await client.send_eof()
    await handler(server)
    replies = [reply async for reply in client]
    await client.aclose()
    return replies


async def test_echo_sends_back_what_comes() -> None:
    assert await conversation(echo, b"one", b"two") == [b"one", b"two"]


async def test_discard_says_nothing() -> None:
    assert await conversation(discard, b"one", b"two") == []


async def test_hello_answers_each_request_of_a_connection() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    replies = await conversation(http_hello, request, request)

    assert len(replies) == 2
    assert all(reply.startswith(b"HTTP/1.1 200") for reply in replies)
    assert all(reply.endswith(b"\r\n\r\nhello from mio\n") for reply in replies)


async def test_hello_ends_after_a_request_that_asks_for_it() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

    assert len(await conversation(http_hello, request, request)) == 1


async def test_hello_closes_a_connection_that_speaks_something_else() -> None:
    assert await conversation(http_hello, b"\x16\x03\x01 not http\r\n\r\n") == []


async def test_hello_answers_head_with_headers_only_and_goes_on() -> None:
    head, get = (f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode() for method in ("HEAD", "GET"))

    first, second = await conversation(http_hello, head, get)

    assert first.startswith(b"HTTP/1.1 200")
    assert b"content-length: 15" in first
    assert first.endswith(b"\r\n\r\n")
    assert second.endswith(b"hello from mio\n")


async def test_hello_refuses_a_tunnel_and_goes_on() -> None:
    connect = b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    first, second = await conversation(http_hello, connect, get)

    assert first.startswith(b"HTTP/1.1 405")
    assert b"allow: GET, HEAD" in first
    assert second.startswith(b"HTTP/1.1 200")
