"""Libraries for asyncio that speak a protocol, client and server, in tasks of mio."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage
from typing import Any

import pytest

from tests.asyncio.concurrent_use import at_once, cancel
from tests.programs.test_libraries_that_ask import NameServer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("leaves_nothing")]


async def test_websockets() -> None:
    client = pytest.importorskip("websockets.asyncio.client", reason="websockets is not installed")
    server = pytest.importorskip("websockets.asyncio.server")

    async def reverse(socket: Any) -> None:
        async for message in socket:
            await socket.send(message[::-1])

    async with server.serve(reverse, "127.0.0.1", 0) as listening:
        url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}"

        async def ask(n: int) -> str:
            async with client.connect(url) as socket:
                await socket.send(f"{n}-")
                answer: str = await socket.recv()
                return answer

        assert await at_once(ask) == [f"-{n}" for n in range(10)]
        async with client.connect(url) as socket:
            await cancel(socket.recv)
            await socket.send("ab")
            assert await socket.recv() == "ba"


async def test_smtp() -> None:
    aiosmtplib = pytest.importorskip("aiosmtplib", reason="aiosmtplib is not installed")
    smtp = pytest.importorskip("aiosmtpd.smtp", reason="aiosmtpd is not installed")
    received, may_answer = [], asyncio.Event()
    may_answer.set()

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            await may_answer.wait()
            received.append(envelope.content)
            return "250 OK"

    async def send(n: int) -> int:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "a@b.example", "c@d.example", str(n)
        await aiosmtplib.send(message, hostname="127.0.0.1", port=port, start_tls=False)
        return n

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: smtp.SMTP(Handler(), loop=loop), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    assert await at_once(send) == [*range(10)]
    assert len(received) == 10
    may_answer.clear()
    loop.call_later(0.2, may_answer.set)  # the client says QUIT and waits for the answer
    await cancel(lambda: send(10))
    assert await send(11) == 11
    server.close()


async def test_aiodns() -> None:
    aiodns: Any = pytest.importorskip("aiodns", reason="aiodns is not installed")
    loop = asyncio.get_running_loop()
    server, name_server = await loop.create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    port = server.get_extra_info("sockname")[1]
    resolver = aiodns.DNSResolver(nameservers=[f"127.0.0.1:{port}"], timeout=60, tries=1)

    async def ask(n: int) -> str:
        return str(await resolver.query_dns(f"host{n}.example", "A"))

    assert all("192.0.2.1" in answer for answer in await at_once(ask))
    name_server.is_silent = True
    await cancel(lambda: ask(10))
    name_server.is_silent = False
    assert "192.0.2.1" in await ask(11)
    await resolver.close()
    server.close()


async def test_tornado() -> None:
    web = pytest.importorskip("tornado.web", reason="tornado is not installed")
    from tornado.httpclient import AsyncHTTPClient
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.queues import Queue

    class Hello(web.RequestHandler):  # type: ignore[misc, name-defined]
        async def get(self, name: str) -> None:
            await asyncio.sleep(60 if name == "slow" else 0)
            self.write(f"hello {name}")

    server = HTTPServer(web.Application([("/(.*)", Hello)]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    client = AsyncHTTPClient()

    async def fetch(n: int) -> bytes:
        return (await client.fetch(f"{url}/{n}")).body

    assert await at_once(fetch) == [b"hello %d" % n for n in range(10)]
    await cancel(Queue[None]().get)
    assert await fetch(11) == b"hello 11"
    client.close()
    server.stop()
    await server.close_all_connections()


async def test_asyncssh() -> None:
    asyncssh: Any = pytest.importorskip("asyncssh", reason="asyncssh is not installed")

    class Open(asyncssh.SSHServer):  # type: ignore[misc]
        def begin_auth(self, username: str) -> bool:
            return False

    async def handle(process: Any) -> None:
        if process.command == "wait":
            await process.stdin.read()
        process.stdout.write(f"done: {process.command}")
        process.exit(0)

    key = asyncssh.generate_private_key("ssh-ed25519")
    options = {"server_host_keys": [key], "server_factory": Open, "process_factory": handle}
    async with asyncssh.listen("127.0.0.1", 0, **options) as server:
        own: dict[str, Any] = {"known_hosts": None, "config": None, "client_keys": None}
        port = server.get_port()
        async with asyncssh.connect("127.0.0.1", port, username="mio", **own) as connection:

            async def run(n: int) -> str:
                return str((await connection.run(str(n))).stdout)

            assert await at_once(run) == [f"done: {n}" for n in range(10)]
            await cancel(lambda: connection.run("wait"))
            assert await run(11) == "done: 11"
