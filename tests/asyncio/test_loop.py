"""The run's loop does what asyncio documents: each part of the interface, in tasks of mio (A1)."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio.lowlevel import checkpoint

import anyio_mio
from anyio_mio.testing import MockClock

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A1")]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"hello")
    await writer.drain()
    answer = await reader.readexactly(5)
    writer.close()
    await writer.wait_closed()
    return answer


def address(server: asyncio.Server) -> tuple[str, int]:
    host, port = server.sockets[0].getsockname()
    return host, port


async def test_streams_over_tcp() -> None:
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        assert await talk(*await asyncio.open_connection(*address(server))) == b"hello"


async def test_streams_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with await asyncio.start_unix_server(echo, path):
        assert await talk(*await asyncio.open_unix_connection(path)) == b"hello"


async def test_streams_over_tls() -> None:
    authority = trustme.CA()
    server_side, client_side = (
        ssl.create_default_context(purpose)
        for purpose in (ssl.Purpose.CLIENT_AUTH, ssl.Purpose.SERVER_AUTH)
    )
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)
    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_side) as server:
        connection = await asyncio.open_connection(
            *address(server), ssl=client_side, server_hostname="localhost"
        )
        assert await talk(*connection) == b"hello"


async def test_a_stream_of_mios_talks_to_a_server_of_asyncios() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, await anyio.connect_tcp(*address(server)) as stream:
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"


async def test_megabytes_pass_with_flow_control_in_both_directions() -> None:
    size = 3_000_000
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*address(server))

        async def send() -> None:
            writer.write(b"x" * size)
            await writer.drain()

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            assert len(await reader.readexactly(size)) == size
        writer.close()
        await writer.wait_closed()


async def test_datagrams() -> None:
    loop = asyncio.get_running_loop()
    received: asyncio.Future[bytes] = loop.create_future()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            received.set_result(data)

    server, _ = await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    client, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=server.get_extra_info("sockname")
    )
    client.sendto(b"hello")

    assert await received == b"hello"

    client.close()
    server.close()
    await asyncio.sleep(0)


async def test_a_subprocess_and_its_pipes() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "print(input()[::-1])",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate(b"hello\n")

    assert out == b"olleh\n"
    assert process.returncode == 0


async def test_the_methods_for_raw_sockets() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        async with anyio.create_task_group() as group:
            group.start_soon(loop.sock_connect, client, listener.getsockname())
            accepted, _ = await loop.sock_accept(listener)
        with accepted:
            await loop.sock_sendall(accepted, b"hello")
            assert await loop.sock_recv(client, 100) == b"hello"


async def test_sendfile(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 200_000)
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        with path.open("rb") as file:
            async with anyio.create_task_group() as group:
                group.start_soon(reader.readexactly, 200_000)
                loop = asyncio.get_running_loop()
                assert await loop.sendfile(writer.transport, file) == 200_000
        writer.close()
        await writer.wait_closed()


async def test_names_are_resolved() -> None:
    found = await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)

    assert found[0][4][:2] == ("127.0.0.1", 80)


async def test_readers_and_writers_are_level_triggered() -> None:
    loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
    ours.setblocking(False)
    received, done = [], anyio.Event()

    def read() -> None:
        received.append(ours.recv(1))
        if len(received) == 3:
            loop.remove_reader(ours)
            done.set()

    with ours, theirs:
        loop.add_reader(ours, read)
        theirs.send(b"abcd")
        await done.wait()
        await checkpoint()
        assert received == [b"a", b"b", b"c"]
        assert not loop.remove_reader(ours)
        writable = anyio.Event()
        loop.add_writer(ours, writable.set)
        await writable.wait()
        assert loop.remove_writer(ours)


async def test_a_reader_that_is_replaced_is_not_called() -> None:
    loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
    called: list[str] = []
    done = anyio.Event()

    def second() -> None:
        called.append("second")
        loop.remove_reader(ours)
        done.set()

    with ours, theirs:
        theirs.send(b"a")
        loop.add_reader(ours, called.append, "first")
        loop.add_reader(ours, second)
        await done.wait()

    assert called == ["second"]


async def test_timers_are_called_in_the_order_of_their_times() -> None:
    loop, done = asyncio.get_running_loop(), anyio.Event()
    order: list[str] = []
    loop.call_later(0.02, done.set)
    loop.call_later(0.01, order.append, "second")
    loop.call_at(loop.time() + 0.005, order.append, "first")
    loop.call_later(0.007, order.append, "never").cancel()

    await done.wait()

    assert order == ["first", "second"]


async def test_a_timer_at_no_number_calls_back_soon_and_holds_no_other_up() -> None:
    loop, called = asyncio.get_running_loop(), list[str]()
    loop.call_later(math.nan, called.append, "after nan")
    loop.call_at(math.nan, called.append, "at nan")
    loop.call_later(0.001, called.append, "later")

    with anyio.fail_after(1):
        await asyncio.sleep(0.01)

    assert sorted(called) == ["after nan", "at nan", "later"]


def test_timers_follow_a_mock_clock() -> None:
    clock = MockClock(autojump=0)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(3600)
        async with asyncio.timeout(7200):
            await asyncio.sleep(3600)
        return loop.time() - start

    before = time.monotonic()
    seconds: float = anyio_mio.run(main, clock=clock)

    assert seconds == pytest.approx(7200)
    assert time.monotonic() - before < 10


async def test_a_call_from_another_thread_ends_the_sleep() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    def work() -> None:
        time.sleep(0.01)
        loop.call_soon_threadsafe(future.set_result, "value")

    thread = threading.Thread(target=work)
    thread.start()

    assert await future == "value"

    thread.join()


async def test_a_coroutine_of_another_thread_runs_in_the_loop() -> None:
    loop = asyncio.get_running_loop()

    async def body() -> str:
        await asyncio.sleep(0.001)
        return "value"

    def work() -> str:
        return asyncio.run_coroutine_threadsafe(body(), loop).result(5)

    assert await asyncio.to_thread(work) == "value"


async def test_executors() -> None:
    assert await asyncio.get_running_loop().run_in_executor(None, os.getpid) == os.getpid()
    assert await asyncio.to_thread(threading.current_thread) is not threading.current_thread()


async def test_a_signal_handler_is_called_and_the_one_before_comes_back() -> None:
    loop, told = asyncio.get_running_loop(), anyio.Event()
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        loop.add_signal_handler(signal.SIGUSR1, told.set)
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        await told.wait()
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


async def test_a_signal_handler_in_another_thread_is_refused() -> None:
    loop = asyncio.get_running_loop()

    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(loop.add_signal_handler, signal.SIGUSR1, print)


async def test_a_slow_callback_is_logged_in_debug_mode(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
    try:
        with caplog.at_level(logging.WARNING, "asyncio"):
            loop.call_soon(time.sleep, 0.005)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    finally:
        loop.set_debug(False)

    assert "Executing" in caplog.text


async def test_in_debug_mode_a_handle_knows_where_it_was_made() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    try:
        handle: Any = loop.call_soon(print)
        timer: Any = loop.call_later(100, print)
        traces = [each._source_traceback[-1].name for each in (handle, timer)]
        handle.cancel()
        timer.cancel()
    finally:
        loop.set_debug(False)

    assert set(traces) == {"test_in_debug_mode_a_handle_knows_where_it_was_made"}


async def test_asyncio_and_mio_take_turns_when_either_floods() -> None:
    steps = {"asyncio": 0, "mio": 0}

    async def flood(world: str, wait: Any) -> None:
        while True:
            await wait(0)
            steps[world] += 1

    floods = [asyncio.create_task(flood("asyncio", asyncio.sleep)) for _ in range(5)]
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(flood, "mio", anyio.sleep)
        for _ in range(20):
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    for each in floods:
        each.cancel()

    assert steps["asyncio"] > 100
    assert steps["mio"] > 100


async def test_a_flood_of_callbacks_does_not_keep_a_task_of_mio_from_running() -> None:
    loop, ran = asyncio.get_running_loop(), []

    def spin(number: int) -> None:
        ran.append(number)
        time.sleep(0.0001)

    for number in range(1000):
        loop.call_soon(spin, number)
    await checkpoint()
    await checkpoint()
    seen = len(ran)

    assert seen < 1000

    while len(ran) < 1000:
        await anyio.sleep(0.001)
    assert ran == list(range(1000))


if sys.version_info >= (3, 12):

    async def test_an_eager_task_begins_in_the_step_of_its_maker_and_is_asyncios() -> None:
        loop, seen = asyncio.get_running_loop(), []
        loop.set_task_factory(asyncio.eager_task_factory)
        try:

            async def body() -> str:
                seen.append(asyncio.current_task())
                await asyncio.sleep(0)
                return "value"

            face = asyncio.current_task()
            task = asyncio.create_task(body())
            assert seen == [task]
            assert asyncio.current_task() is face
            assert await task == "value"
        finally:
            loop.set_task_factory(None)


async def test_all_events_of_a_poll_are_handled_before_what_they_queue() -> None:
    loop, order = asyncio.get_running_loop(), []

    class Protocol(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            order.append(f"data {data.decode()}")
            loop.call_soon(order.append, f"queued by {data.decode()}")

    pairs = [socket.socketpair() for _ in range(3)]
    transports = [(await loop.create_connection(Protocol, sock=ours))[0] for ours, _ in pairs]
    for number, (_, theirs) in enumerate(pairs):
        theirs.send(str(number).encode())
    with anyio.fail_after(5):
        while len(order) < 6:
            await asyncio.sleep(0)
    for transport, (_, theirs) in zip(transports, pairs, strict=True):
        transport.close()
        theirs.close()

    assert sorted(order[:3]) == ["data 0", "data 1", "data 2"]
    assert [each.removeprefix("queued by ") for each in order[3:]] == [
        each.removeprefix("data ") for each in order[:3]
    ]
