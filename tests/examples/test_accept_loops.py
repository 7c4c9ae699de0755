"""The seed of it all: what one accept per event strands, and what the loop does not."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

from anyio_mio.poll import Event, Events, Interest, Poll, Token

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Server:
    """A registered listener, and clients that connect to it."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.poll = stack.enter_context(Poll())
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        self.listener.setblocking(False)
        self.poll.registry.register(self.listener, Token(0), Interest.READABLE)

    def connect(self, count: int) -> None:
        for _ in range(count):
            self.stack.enter_context(socket.create_connection(self.listener.getsockname()))

    def count_queued(self) -> int:
        queued = 0
        while True:
            try:
                self.listener.accept()[0].close()
            except BlockingIOError:
                return queued
            queued += 1


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(stack)


def take_turn_of_the_broken_one(server: Server) -> tuple[int, int]:
    events, connections = load("accept_one_per_event").one_turn(server.poll, server.listener)
    for connection in connections:
        connection.close()
    return events, len(connections)


def test_five_queued_clients_are_one_event_and_one_accept(server: Server) -> None:
    server.connect(5)

    assert take_turn_of_the_broken_one(server) == (1, 1)
    assert take_turn_of_the_broken_one(server) == (0, 0)
    assert server.count_queued() == 4


def test_a_sixth_client_frees_just_one_of_those_who_wait(server: Server) -> None:
    server.connect(5)
    take_turn_of_the_broken_one(server)

    server.connect(1)

    assert take_turn_of_the_broken_one(server) == (1, 1)
    assert take_turn_of_the_broken_one(server) == (0, 0)
    assert server.count_queued() == 4


def test_the_broken_one_tells_its_story_when_run() -> None:
    story = subprocess.run(
        [sys.executable, EXAMPLES / "accept_one_per_event.py"],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert story.stdout.splitlines() == [
        "5 new clients: 1 event, 1 accepted, 4 still queued",
        "0 new clients: 0 event, 0 accepted, 4 still queued",
        "1 new clients: 1 event, 1 accepted, 4 still queued",
        "0 new clients: 0 event, 0 accepted, 4 still queued",
    ]


def test_the_loop_serves_whoever_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    server = subprocess.Popen(
        [sys.executable, "-u", EXAMPLES / "accept_loop.py", str(address[1])],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        clients = [connect_when_up(address) for _ in range(3)]
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in clients]
        server.kill()

    assert lines == [f"Accepted connection from: {client.getsockname()}\n" for client in clients]
    for client in clients:
        client.close()


def connect_when_up(address: tuple[str, int]) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.02)


def test_the_loop_accepts_all_that_one_event_stands_for(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted: list[socket.socket] = []
    events = Events()
    server.connect(5)

    server.poll.poll(events, 1)
    some_left = load("accept_loop").accept_all(server.poll, server.listener, accepted.append)

    assert len(events) == 1
    assert len(accepted) == 5
    assert not some_left
    assert server.count_queued() == 0
    assert capsys.readouterr().out.count("Accepted connection from: ('127.0.0.1', ") == 5
    for connection in accepted:
        connection.close()


class FailingListener:
    """Raises each error once, and then would block."""

    def __init__(self, *errors: OSError) -> None:
        self.errors = [*errors, BlockingIOError(errno.EAGAIN, "empty")]

    def fileno(self) -> int:
        return 7

    def accept(self) -> tuple[socket.socket, object]:
        raise self.errors.pop(0)


def test_an_error_of_one_connection_does_not_end_the_loop(server: Server) -> None:
    listener = FailingListener(ConnectionAbortedError(errno.ECONNABORTED, "gone"))

    some_left = load("accept_loop").accept_all(server.poll, listener, socket.socket.close)

    assert not some_left
    assert listener.errors == []


def test_an_error_of_the_system_leaves_the_queue_for_later(server: Server) -> None:
    listener = FailingListener(OSError(errno.EMFILE, "too many open files"))

    some_left = load("accept_loop").accept_all(server.poll, listener, socket.socket.close)

    assert some_left


def test_an_error_of_the_listener_is_raised(server: Server) -> None:
    listener = FailingListener(OSError(errno.EINVAL, "not listening"))

    with pytest.raises(OSError, match="not listening"):
        load("accept_loop").accept_all(server.poll, listener, socket.socket.close)


def test_an_unknown_token_is_an_error_of_the_program() -> None:
    with pytest.raises(AssertionError, match="unreachable"):
        load("accept_loop").is_for_server(Event(Token(9), 1))
