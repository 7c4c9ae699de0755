"""Which UNIX path a listener of ours replaces, and which it removes."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
import trio

import anyio_mio
import anyio_mio.trio as mio_trio
from anyio_mio._net import unix_paths
from anyio_mio._net.unix_paths import listen_unix


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


def bound(kind: int, path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    return sock


def leave_dead(path: Path, kind: int = socket.SOCK_STREAM) -> None:
    bound(kind, path).close()


def answers(path: Path | str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(os.fspath(path)) == 0


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_what_a_dead_server_left_is_replaced(path: Path, kind: int) -> None:
    leave_dead(path, kind)
    sock, _ = listen_unix(path)
    with sock:
        assert answers(path)


def live_stream(path: Path) -> socket.socket:
    sock = bound(socket.SOCK_STREAM, path)
    sock.listen()
    return sock


def full_queue(path: Path) -> socket.socket:
    sock = bound(socket.SOCK_STREAM, path)
    sock.listen(0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    return sock


def live_packets(path: Path) -> socket.socket:
    sock = bound(socket.SOCK_SEQPACKET, path)
    sock.listen()
    return sock


LIVE: dict[str, Callable[[Path], socket.socket]] = {
    "a listener": live_stream,
    "one with a full queue": full_queue,
    "one of packets": live_packets,
    "a datagram socket, as the system's logger": lambda path: bound(socket.SOCK_DGRAM, path),
}


@pytest.mark.parametrize("live", LIVE)
def test_a_live_socket_is_not_replaced(path: Path, live: str) -> None:
    with LIVE[live](path):
        before = path.stat()
        with pytest.raises(OSError, match="in use") as caught:
            listen_unix(path)
        assert caught.value.errno == errno.EADDRINUSE
        assert str(path) in str(caught.value)
        assert path.stat().st_ino == before.st_ino


def test_neither_is_one_that_we_may_not_ask(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_dead(path)

    class Refused(socket.socket):
        def connect_ex(self, address: Any) -> int:
            return errno.EACCES

    monkeypatch.setattr(unix_paths, "open_unix_socket", lambda kind: Refused(socket.AF_UNIX, kind))
    with pytest.raises(OSError, match="in use"):
        listen_unix(path)
    assert path.exists()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_socket_is_not_replaced(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(OSError, match="in use"):
        listen_unix(path)
    assert os.path.lexists(path)


def test_a_path_that_another_server_has_taken_is_not_removed(path: Path) -> None:
    ours, bound_path = listen_unix(path)
    with ours:
        path.unlink()
        with live_stream(path):
            bound_path.remove()
            assert answers(path)


def test_a_file_that_was_given_the_number_of_ours_is_not_removed(path: Path) -> None:
    """Once the socket is closed its inode is free, and the successor's file may be the same one."""
    sock, bound_path = listen_unix(path)
    sock.close()
    os.utime(path, ns=(1, 1))  # the number of ours, and another time
    bound_path.remove()
    assert path.exists()


def test_a_failure_after_binding_leaves_neither_socket_nor_path(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(PermissionError):
        listen_unix(path, mode=0o600)
    assert not path.exists()


def test_permissions_are_set_before_anybody_can_connect(path: Path) -> None:
    sock, _ = listen_unix(path, mode=0o640)
    with sock:
        assert path.stat().st_mode & 0o777 == 0o640


def test_an_abstract_name_has_no_permissions() -> None:
    with pytest.raises(ValueError, match="right: mode=None"):
        listen_unix(f"\0mio-{os.getpid()}", mode=0o600)


# The same rule in each face.


async def hello(stream: anyio.abc.SocketStream) -> None:
    await stream.send(b"hello")


@asynccontextmanager
async def serving(path: str) -> AsyncIterator[anyio.Event]:
    stop = anyio.Event()

    async def serve(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
        await anyio_mio.serve_unix(hello, path, stop=stop, task_status=task_status)

    async with anyio.create_task_group() as group:
        await group.start(serve)
        yield stop
        stop.set()


def in_serving(path: str, inside: Callable[[], None]) -> None:
    async def main() -> None:
        async with serving(path):
            inside()

    anyio_mio.run(main)


def in_trio(path: str, inside: Callable[[], None]) -> None:
    async def main() -> None:
        async with await mio_trio.open_unix_listener(path):
            inside()

    trio.run(main)


FACES = [in_serving, in_trio]


@pytest.mark.parametrize("face", FACES)
def test_a_listener_replaces_a_dead_socket_and_removes_its_own(face: Any, path: Path) -> None:
    leave_dead(path)

    def inside() -> None:
        assert answers(path)

    face(str(path), inside)
    assert not path.exists()


def test_a_server_leaves_a_live_socket_alone(path: Path) -> None:
    with live_stream(path):
        with pytest.raises(OSError, match="in use"):
            anyio_mio.run(anyio_mio.serve_unix, hello, path)
        with pytest.raises(OSError, match="in use"):
            trio.run(mio_trio.open_unix_listener, path)
        assert answers(path)


@pytest.mark.parametrize("face", FACES)
def test_a_listener_leaves_its_successors_path_alone(face: Any, path: Path) -> None:
    made: list[socket.socket] = []

    def replace() -> None:
        path.unlink()
        made.append(live_stream(path))

    face(str(path), replace)
    with closing(made[0]):
        assert answers(path)


@pytest.mark.parametrize("face", FACES)
def test_a_listener_may_have_an_abstract_name(face: Any) -> None:
    name = f"\0mio-{os.getpid()}-{face.__name__}"
    face(name, lambda: None if answers(name) else pytest.fail("nothing listens"))


def test_a_server_in_its_grace_period_has_given_its_path_up(path: Path) -> None:
    """So the next one can start: that is how a server is replaced without a gap."""

    async def hold(stream: anyio.abc.SocketStream) -> None:
        with anyio.CancelScope(shield=True):
            await stream.receive()

    async def main() -> None:
        stop = anyio.Event()

        async def serve(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
            await anyio_mio.serve_unix(hold, path, stop=stop, grace=5, task_status=task_status)

        async with anyio.create_task_group() as group:
            await group.start(serve)
            async with await anyio.connect_unix(path) as client:
                await anyio.wait_all_tasks_blocked()
                stop.set()
                await anyio.wait_all_tasks_blocked()
                assert not os.path.lexists(path)  # noqa: ASYNC240
                async with serving(str(path)):
                    await client.send(b"x")  # the old server ends
                    await anyio.sleep(0.01)
                    assert answers(path)

    anyio_mio.run(main)
