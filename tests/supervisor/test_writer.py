"""Writing that never waits for its reader."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from anyio_mio._supervisor.channel import Channel
from anyio_mio._supervisor.writer import BACKLOG, NonBlockingWriter, descriptor_writer, text_file

LINE = b"x" * 999 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def read_all(fd: int) -> bytes:
    os.set_blocking(fd, False)
    found = b""
    try:
        while chunk := os.read(fd, 65536):
            found += chunk
    except BlockingIOError:
        pass
    return found


def overfill(writer: NonBlockingWriter) -> int:
    """Write until messages are dropped; how many were written or kept."""
    count = 0
    while not writer.dropped:
        writer.write(LINE)
        count += 1
    return count - 1


def test_a_full_pipe_drops_messages_instead_of_waiting(pipe: tuple[int, int]) -> None:
    writer = descriptor_writer(pipe[1])
    count = overfill(writer)

    assert count * len(LINE) >= BACKLOG
    assert writer.dropped == 1
    assert os.get_blocking(pipe[1])  # what other processes write is not changed


def test_what_was_kept_arrives_whole_and_in_order(pipe: tuple[int, int]) -> None:
    writer = descriptor_writer(pipe[1])
    count = 0
    while count * len(LINE) < 2 * 65536:
        writer.write(b"%06d" % count + LINE[6:])
        count += 1
    received = b""
    while not writer.flush():
        received += read_all(pipe[0])
    received += read_all(pipe[0])

    assert [int(line[:6]) for line in received.splitlines()] == list(range(count))
    assert not writer.dropped


def test_a_message_that_must_be_kept_exceeds_the_backlog(pipe: tuple[int, int]) -> None:
    writer = descriptor_writer(pipe[1])
    overfill(writer)
    writer.write(b"last words\n", must_be_kept=True)
    received = b""
    while not writer.flush():
        received += read_all(pipe[0])

    assert (received + read_all(pipe[0])).endswith(b"last words\n")


def test_a_reader_that_is_gone_loses_the_messages_and_raises_nothing() -> None:
    read, write = os.pipe()
    writer = descriptor_writer(write)
    os.close(read)
    writer.write(LINE)
    os.close(write)

    assert writer.dropped == 1


@pytest.mark.parametrize("again", [True, False])
def test_a_terminal_or_pipe_that_cannot_be_opened_again_is_not_waited_for_either(
    pipe: tuple[int, int], again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not again:
        monkeypatch.setattr("anyio_mio._supervisor.writer.open_again", lambda fd: None)
    writer = descriptor_writer(pipe[1])
    overfill(writer)

    assert os.get_blocking(pipe[1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it keeps a copy
def test_a_socket_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = descriptor_writer(ours.fileno())
        overfill(writer)

        assert ours.getblocking()


def test_a_file_gets_everything(tmp_path: object) -> None:
    path = f"{tmp_path}/log"
    with open(path, "wb") as file:
        writer = descriptor_writer(file.fileno())
        for _ in range(1000):
            writer.write(LINE)

    with open(path, "rb") as file:
        assert len(file.read()) == 1000 * len(LINE)


def test_printing_to_a_full_pipe_raises_nothing(pipe: tuple[int, int]) -> None:
    writer = descriptor_writer(pipe[1])
    overfill(writer)
    file = text_file(writer, pipe[1])
    print("too much" * 999, file=file)

    assert writer.dropped == 2


@pytest.mark.anyio
async def test_a_channel_whose_receiver_is_suspended_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    sender, receiver = Channel(ours), Channel(theirs)
    while not sender.writer.dropped:
        sender.send("log", text="x" * 1000)
    sender.send("stopped", must_be_kept=True)
    kinds = []
    async for message in receiver:
        kinds.append(message["kind"])
        sender.send("alive")
        if "lost" in kinds:
            break
    sender.close()
    receiver.close()

    assert kinds.index("stopped") < kinds.index("lost")


@pytest.fixture
def anyio_backend() -> str:
    return "mio"
