"""Pipes: both ends, their closing, and the standard streams of a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from anyio_mio.poll import Poll
from tests.poll.harness import READABLE, WRITABLE, A, B, expect_events, expect_no_events


class Pipe:
    """Both ends of a pipe, each of which can be closed before the test is over."""

    def __init__(self) -> None:
        self.ends = dict(zip(("reader", "writer"), os.pipe(), strict=True))
        for fd in self.ends.values():
            os.set_blocking(fd, False)

    @property
    def reader(self) -> int:
        return self.ends["reader"]

    @property
    def writer(self) -> int:
        return self.ends["writer"]

    def close(self, end: str) -> None:
        os.close(self.ends.pop(end))


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for end in tuple(pipe.ends):
        pipe.close(end)


def test_what_is_written_makes_the_other_end_readable(poll: Poll, pipe: Pipe) -> None:
    poll.registry.register(pipe.reader, A, READABLE)
    poll.registry.register(pipe.writer, B, WRITABLE)
    assert expect_events(poll, (B, "writable")) == {B: {"writable"}}

    os.write(pipe.writer, b"through the pipe")

    expect_events(poll, (A, "readable"))
    assert os.read(pipe.reader, 64) == b"through the pipe"


def test_readiness_comes_again_after_would_block(poll: Poll, pipe: Pipe) -> None:
    poll.registry.register(pipe.reader, A, READABLE)
    for _ in range(3):
        os.write(pipe.writer, b"x")
        expect_events(poll, (A, "readable"))
        assert os.read(pipe.reader, 64) == b"x"
        with pytest.raises(BlockingIOError):
            os.read(pipe.reader, 64)
        poll.registry.would_block(pipe.reader, READABLE)
        expect_no_events(poll)


def test_a_full_pipe_becomes_writable_once_it_was_read(poll: Poll, pipe: Pipe) -> None:
    poll.registry.register(pipe.writer, B, WRITABLE)
    expect_events(poll, (B, "writable"))
    os.write(pipe.writer, b"x" * (1 << 20))
    with pytest.raises(BlockingIOError):
        os.write(pipe.writer, b"x")
    poll.registry.would_block(pipe.writer, WRITABLE)
    expect_no_events(poll)

    os.read(pipe.reader, 1 << 20)

    expect_events(poll, (B, "writable"))


def test_the_reader_learns_that_the_writer_is_gone(
    poll: Poll, pipe: Pipe, tells_closing: None
) -> None:
    poll.registry.register(pipe.reader, A, READABLE)

    pipe.close("writer")

    expect_events(poll, (A, "read_closed"))
    assert os.read(pipe.reader, 1) == b""


def test_the_writer_learns_that_the_reader_is_gone(
    poll: Poll, pipe: Pipe, tells_closing: None
) -> None:
    poll.registry.register(pipe.writer, B, WRITABLE)

    pipe.close("reader")

    expect_events(poll, (B, "write_closed"))
    with pytest.raises(BrokenPipeError):
        os.write(pipe.writer, b"x")


def test_what_was_written_before_the_end_is_still_read(poll: Poll, pipe: Pipe) -> None:
    poll.registry.register(pipe.reader, A, READABLE)
    os.write(pipe.writer, b"last")
    pipe.close("writer")

    expect_events(poll, (A, "readable"))

    assert os.read(pipe.reader, 64) == b"last"
    assert os.read(pipe.reader, 64) == b""


def test_the_streams_of_a_child_process_can_be_polled(poll: Poll) -> None:
    echo = "import sys; sys.stdout.write(sys.stdin.readline())"
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", echo],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        poll.registry.register(child.stdin, A, WRITABLE)
        poll.registry.register(child.stdout, B, READABLE)
        expect_events(poll, (A, "writable"))
        child.stdin.write(b"hello\n")

        expect_events(poll, (B, "readable"))

        assert child.stdout.read(64) == b"hello\n"
        poll.registry.deregister(child.stdin)
        poll.registry.deregister(child.stdout)
