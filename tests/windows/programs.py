"""What mio does on Windows, one function for each thing; they run there and on the stand-in alike.

    python tests/windows/programs.py            on Windows, each in turn
    python tests/windows/programs.py tcp udp    some of them

It prints a line for each, and its exit status is 1 if one of them failed.
"""

from __future__ import annotations

import asyncio  # noqa: F401 - the stand-in needs what looks at the platform to be there before it
import contextlib
import importlib
import multiprocessing  # noqa: F401
import os
import signal
import socket
import ssl  # noqa: F401
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_process
import anyio.to_thread
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream
from click.testing import CliRunner

Program = Callable[[], Coroutine[Any, Any, None]]
PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    PROGRAMS[getattr(function, "__name__")] = function  # noqa: B009 - a Callable has no name
    return function


async def echo(stream: SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


@program
async def sleep() -> None:
    before = time.monotonic()
    await anyio.sleep(0.02)
    assert time.monotonic() - before >= 0.02


@program
async def tcp() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        port = listener.extra(SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(b"hello")
            assert await client.receive() == b"hello"
            await exchange(client, 2_000_000)
        tasks.cancel_scope.cancel()


async def exchange(client: SocketStream | TLSStream, size: int) -> None:
    """More than the system buffers, so that both sides wait to send."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.send, b"x" * size)
        received = 0
        while received < size:
            received += len(await client.receive())


@program
async def a_refused_connection_is_told_in_words() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OSError, match="All connection attempts failed") as caught:
        await anyio.connect_tcp("127.0.0.1", port)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError), repr(caught.value)
    assert "nknown" not in str(caught.value.__cause__)


@program
async def udp() -> None:
    async with (
        await anyio.create_udp_socket(local_host="127.0.0.1") as one,
        await anyio.create_udp_socket(local_host="127.0.0.1") as other,
    ):
        await one.sendto(b"x", "127.0.0.1", other.extra(SocketAttribute.local_port))
        assert (await other.receive())[0] == b"x"


@program
async def threads() -> None:
    def there_and_back() -> int:
        return anyio.from_thread.run_sync(lambda: 5)

    assert await anyio.to_thread.run_sync(there_and_back) == 5


@program
async def a_process_gets_its_input_and_gives_its_output() -> None:
    code = "import sys; print(sys.stdin.read().upper())"
    done = await anyio.run_process([sys.executable, "-c", code], input=b"hello")
    assert done.stdout.split() == [b"HELLO"]


@program
async def the_end_of_a_process_is_awaited() -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(3)"]
    async with await anyio.open_process(command) as process:
        with anyio.move_on_after(0.1):
            await process.wait()
        assert process.returncode is None
        assert process.stdin is not None
        await process.stdin.aclose()
        assert await process.wait() == 3


@program
async def a_process_that_is_killed_ends() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    async with await anyio.open_process(command) as process:
        process.kill()
        assert await process.wait() != 0


@program
async def files() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = anyio.Path(directory) / "file"
        await path.write_text("x")
        assert await path.read_text() == "x"


@program
async def signals() -> None:
    with anyio.open_signal_receiver(signal.SIGINT) as received:
        signal.raise_signal(signal.SIGINT)
        async for number in received:
            assert number is signal.SIGINT
            break


@program
async def a_socket_that_is_closed_while_watched_concerns_itself_alone() -> None:
    one, other = socket.socketpair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_or_give_up, one)
        await anyio.sleep(0.05)
        one.close()
        other.close()
        await anyio.sleep(0.05)
        await tcp()


async def wait_or_give_up(sock: socket.socket) -> None:
    with anyio.move_on_after(0.5):
        await anyio.wait_readable(sock)


@program
async def more_sockets_than_python_selects() -> None:
    pairs = [socket.socketpair() for _ in range(600)]
    async with anyio.create_task_group() as tasks:
        for one, _ in pairs:
            tasks.start_soon(wait_until_readable, one)
        await anyio.sleep(0.05)
        for _, other in pairs:
            other.send(b"x")
    for pair in pairs:
        for end in pair:
            end.close()


async def wait_until_readable(sock: socket.socket) -> None:
    await anyio.wait_readable(sock)


@program
async def what_is_no_socket_is_refused_alone() -> None:
    reader, writer = os.pipe()
    with pytest.raises(OSError, match="only wait for sockets"):
        await anyio.wait_readable(reader)
    os.close(reader)
    os.close(writer)


@program
async def unix_sockets_are_refused_in_words() -> None:
    import anyio_mio

    with pytest.raises(OSError, match="no UNIX sockets"):
        await anyio_mio.serve_unix(echo, "path")


@program
async def serving() -> None:
    import anyio_mio

    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def serve(*, task_status: Any) -> None:
            await anyio_mio.serve_tcp(
                echo, 0, host="127.0.0.1", stop=stop, grace=1, task_status=task_status
            )

        listeners = await tasks.start(serve)
        port = listeners[0].extra(SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await exchange(client, 100_000)
        stop.set()


PAGE = b"x" * 300_000


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200})
    if scope["path"] == "/file":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page"
            path.write_bytes(PAGE)
            await send({"type": "http.response.pathsend", "path": str(path)})
    elif scope["path"] == "/broken":
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
    else:
        await send({"type": "http.response.body", "body": b"hello"})


async def ask(port: int, target: bytes) -> bytes:
    answer = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as client:
        await client.send(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                answer += await client.receive()
    return answer


@program
async def an_application_is_served() -> None:
    import anyio_mio.asgi

    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def serve(*, task_status: Any) -> None:
            await anyio_mio.asgi.serve(
                application, port=0, stop=stop, grace=1, task_status=task_status
            )

        listeners = await tasks.start(serve)
        port = listeners[0].extra(SocketAttribute.local_port)
        assert (await ask(port, b"/")).endswith(b"hello")
        assert (await ask(port, b"/file")).endswith(PAGE)
        assert not (await ask(port, b"/broken")).endswith(b"0\r\n\r\n")
        async with await anyio.connect_tcp("127.0.0.1", port) as idle:
            await idle.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await idle.receive()).endswith(b"hello")
            stop.set()
            with pytest.raises(anyio.EndOfStream):
                await idle.receive()


@program
async def a_websocket_is_served() -> None:
    import anyio_mio.asgi

    async def echo_once(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})

    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def serve(*, task_status: Any) -> None:
            await anyio_mio.asgi.serve(
                echo_once, port=0, lifespan="off", stop=stop, grace=1, task_status=task_status
            )

        listeners = await tasks.start(serve)
        port = listeners[0].extra(SocketAttribute.local_port)
        await anyio.to_thread.run_sync(talk, port)
        stop.set()


def talk(port: int) -> None:
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{port}/", proxy=None) as websocket:
        websocket.send("hello")
        assert websocket.recv(5) == "hello"


@program
async def the_command_says_what_does_not_work() -> None:
    from anyio_mio.cli.group import group

    def output(*arguments: str) -> str:
        result = CliRunner().invoke(group, arguments)
        assert result.exit_code != 0
        return result.output

    for command in (["tree"], ["stats", "1"]):
        assert "no UNIX sockets" in output(*command)
    assert "top needs a terminal" in output("top")
    assert "on Windows one process serves" in output("serve", "echo", "--workers", "2")
    assert "needs workers" in output("serve", "echo", "--reload")
    assert "one process on Windows" in output("serve", "echo", "--bind", "unix:path")


@program
async def modules_of_other_systems_say_so() -> None:
    with pytest.raises(ImportError, match="fork"):
        importlib.import_module("anyio_mio._supervisor.supervisor")


def run(name: str) -> bool:
    try:
        anyio.run(PROGRAMS[name], backend="mio")
    except BaseException:  # noqa: BLE001 - it is shown
        traceback.print_exc()
        return False
    return True


def main() -> int:
    if sys.platform != "win32":
        sys.path.insert(0, str(Path(__file__).parents[2]))
        subprocess.Popen([sys.executable, "-c", ""]).wait()  # before the stand-in takes waitid away
        from tests.models import windows

        windows.install()
    import anyio_mio  # noqa: F401 - registers the backend

    failed = False
    for name in sys.argv[1:] or PROGRAMS:
        ok = run(name)
        failed |= not ok
        sys.stdout.write(f"{'ok    ' if ok else 'FAILED'} {name}\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
