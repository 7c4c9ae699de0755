"""The registry is for every thread, also while another one is inside the poll."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from anyio_mio.poll import Event, Poll, Token
from tests.poll.conftest import Pair
from tests.poll.harness import BOTH, READABLE, WRITABLE, A, B, expect_events, poll_once


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def blocked_poll(poll: Poll, threads: ThreadPoolExecutor) -> Future[list[Event]]:
    """Poll without a timeout in another thread, and return when it is about to wait."""
    started = threading.Event()

    def wait() -> list[Event]:
        started.set()
        return poll_once(poll, 5)

    future = threads.submit(wait)
    started.wait()
    # Give it the time to get into the system call: before that it would not be the case in point,
    # although the result is the same.
    with pytest.raises(TimeoutError):
        future.result(0.02)
    return future


def test_registering_during_a_blocked_poll_takes_effect(
    poll: Poll, unix: Pair, threads: ThreadPoolExecutor
) -> None:
    future = blocked_poll(poll, threads)

    poll.registry.register(unix[0], A, WRITABLE)

    assert [event.token for event in future.result(5)] == [A]


def test_reregistering_during_a_blocked_poll_takes_effect(
    poll: Poll, unix: Pair, threads: ThreadPoolExecutor
) -> None:
    poll.registry.register(unix[0], A, READABLE)
    future = blocked_poll(poll, threads)

    poll.registry.reregister(unix[0], B, WRITABLE)

    assert [event.token for event in future.result(5)] == [B]


def test_would_block_during_a_blocked_poll_takes_effect(
    poll: Poll, unix: Pair, threads: ThreadPoolExecutor
) -> None:
    reader, writer = unix
    poll.registry.register(reader, A, READABLE)
    writer.send(b"x")
    expect_events(poll, (A, "readable"))
    reader.recv(1)
    future = blocked_poll(poll, threads)

    poll.registry.would_block(reader, READABLE)
    writer.send(b"x")

    assert [event.token for event in future.result(5)] == [A]


def test_deregistering_during_a_blocked_poll_takes_effect(
    poll: Poll, unix: Pair, threads: ThreadPoolExecutor
) -> None:
    reader, writer = unix
    waker = poll.registry.waker(B)
    poll.registry.register(reader, A, READABLE)
    future = blocked_poll(poll, threads)

    poll.registry.deregister(reader)
    writer.send(b"x")
    waker.wake()

    assert [event.token for event in future.result(5)] == [B]


def test_an_event_comes_through_while_another_thread_polls(
    poll: Poll, unix: Pair, threads: ThreadPoolExecutor
) -> None:
    reader, writer = unix
    poll.registry.register(reader, A, READABLE)
    future = blocked_poll(poll, threads)

    writer.send(b"x")

    assert [event.token for event in future.result(5)] == [A]


def churn(poll: Poll, numbers: range) -> None:
    pairs = [socket.socketpair() for _ in numbers]
    for number, (reader, _) in zip(numbers, pairs, strict=True):
        poll.registry.register(reader, Token(number), BOTH)
        poll.registry.reregister(reader, Token(1000 + number), READABLE)
    for reader, writer in pairs:
        poll.registry.deregister(reader)
        reader.close()
        writer.close()


def test_three_threads_register_and_deregister_while_one_polls(
    poll: Poll, threads: ThreadPoolExecutor
) -> None:
    waker = poll.registry.waker(A)
    jobs = [threads.submit(churn, poll, range(n * 100, n * 100 + 50)) for n in (1, 2, 3)]

    while not all(job.done() for job in jobs):
        poll_once(poll, 0.001)

    for job in jobs:
        job.result()
    waker.wake()
    assert [event.token for event in poll_once(poll)] == [A]


def test_no_event_finds_a_registration_half_made(poll: Poll, threads: ThreadPoolExecutor) -> None:
    """The edge that comes while its source is being registered is the only one."""
    rounds = 200
    pairs = [socket.socketpair() for _ in range(rounds)]

    def register_all() -> None:
        for number, (reader, writer) in enumerate(pairs):
            writer.send(b"x")
            poll.registry.register(reader, Token(number), READABLE)

    job = threads.submit(register_all)
    seen: set[int] = set()
    while len(seen) < rounds:
        events = poll_once(poll, 2)
        assert events, f"lost {set(range(rounds)) - seen}"
        seen |= {event.token for event in events}

    job.result()
    for pair in pairs:
        for end in pair:
            end.close()


def test_polling_may_move_to_another_thread(
    poll: Poll, unix: Pair, threads: ThreadPoolExecutor
) -> None:
    poll.registry.register(unix[0], A, WRITABLE)
    look: Callable[[], list[Event]] = lambda: poll_once(poll)  # noqa: E731

    assert [event.token for event in threads.submit(look).result(5)] == [A]
    poll.registry.reregister(unix[0], B, WRITABLE)
    assert [event.token for event in poll_once(poll)] == [B]
