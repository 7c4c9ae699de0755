"""The waker: from any thread or handler, coalescing, one for each poll."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from anyio_mio.poll import Poll, Waker
from anyio_mio.poll import waker as waker_module
from tests.poll.harness import A, B, expect_events, expect_no_events, poll_once
from tests.shared.leaks import open_descriptors


@pytest.fixture(params=["best", "pipe"])
def waker(request: pytest.FixtureRequest, poll: Poll) -> Waker:
    return poll.registry.waker(A, pipe=request.param == "pipe")


@pytest.fixture(params=["best", "pipe"])
def lone_waker(request: pytest.FixtureRequest) -> Iterator[Waker]:
    with Waker(pipe=request.param == "pipe") as waker:
        yield waker


def test_a_wake_before_the_poll_is_not_lost(poll: Poll, waker: Waker) -> None:
    waker.wake()

    assert expect_events(poll, (A, "readable")) == {A: {"readable"}}
    expect_no_events(poll)


def test_wakes_coalesce(poll: Poll, waker: Waker) -> None:
    for _ in range(3):
        waker.wake()

    assert len(poll_once(poll)) == 1
    expect_no_events(poll)


def test_each_burst_wakes_anew(poll: Poll, waker: Waker) -> None:
    for _ in range(5):
        waker.wake()
        expect_events(poll, (A, "readable"))
        expect_no_events(poll)


@pytest.mark.invariant("P4")
def test_a_wake_from_another_thread_ends_the_wait(poll: Poll, waker: Waker) -> None:
    thread = threading.Timer(0.02, waker.wake)
    thread.start()

    assert [event.token for event in poll_once(poll, None)] == [A]

    thread.join()
    expect_no_events(poll)


def test_two_threads_in_sequence_are_two_events(poll: Poll, waker: Waker) -> None:
    for _ in range(2):
        thread = threading.Thread(target=waker.wake)
        thread.start()
        thread.join()
        assert [event.token for event in poll_once(poll)] == [A]


def test_a_wake_from_a_signal_handler_ends_the_wait(poll: Poll, waker: Waker) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: waker.wake())
    # Again and again: one that comes just before the wait is handled when the wait has ended.
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.05)
    try:
        events = poll_once(poll, 10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert [event.token for event in events] == [A]


def test_a_signal_handler_may_wake_while_its_thread_does(poll: Poll, waker: Waker) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: waker.wake())
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(5000):
            waker.wake()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    expect_events(poll, (A, "readable"))


def test_no_wake_of_a_crowd_is_lost(poll: Poll, waker: Waker) -> None:
    work: list[int] = []

    def deliver(number: int) -> None:
        work.append(number)
        waker.wake()

    done: set[int] = set()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(deliver, range(400), chunksize=1))
        while len(done) < 400:
            assert poll_once(poll), "there is work, and nobody woke"
            done.update(work)


def test_a_second_waker_is_refused_with_the_reason(poll: Poll, waker: Waker) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)one waker.*right: waker = registry.waker\(WAKE\)"):
        poll.registry.waker(B)


def test_a_poll_closes_its_waker(poll: Poll, waker: Waker) -> None:
    poll.close()

    assert waker.fileno() == -1
    assert repr(waker) == "<Waker closed>"


def test_a_late_wake_is_no_mistake(poll: Poll, waker: Waker) -> None:
    poll.close()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    waker.wake()
    waker.drain()
    waker.close()

    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    os.close(reader)
    os.close(writer)


def test_a_waker_that_nobody_reads_goes_on(poll: Poll, waker: Waker) -> None:
    """Under edge triggering nobody ever reads it back, so its store overflows one day."""
    for _ in range(70_000 if waker_is_a_pipe(waker) else 10):
        waker.wake()
    expect_events(poll, (A, "readable"))

    waker.wake()

    expect_events(poll, (A, "readable"))


def waker_is_a_pipe(waker: Waker) -> bool:
    return "eventfd" not in os.readlink(f"/proc/self/fd/{waker.fileno()}")


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="this Python has no eventfd")
def test_an_overflow_of_the_eventfd_is_drained(poll: Poll) -> None:
    waker = poll.registry.waker(A)
    os.eventfd_write(waker.fileno(), 2**64 - 2)
    expect_events(poll, (A, "readable"))

    waker.wake()

    expect_events(poll, (A, "readable"))


def test_a_drained_waker_is_silent(lone_waker: Waker) -> None:
    for _ in range(5000):
        lone_waker.wake()

    lone_waker.drain()
    lone_waker.drain()

    with pytest.raises(BlockingIOError):
        os.read(lone_waker.fileno(), 8)


def test_closing_twice_closes_once() -> None:
    before = open_descriptors()
    waker = Waker()
    waker.close()
    waker.close()

    assert open_descriptors() == before


def test_a_waker_tells_its_descriptor(lone_waker: Waker) -> None:
    assert repr(lone_waker) == f"<Waker fd={lone_waker.fileno()}>"


def test_the_descriptors_of_a_waker_never_block(lone_waker: Waker) -> None:
    assert not os.get_blocking(lone_waker.fileno())
    assert not os.get_inheritable(lone_waker.fileno())


def test_the_bell_of_windows_rings_too() -> None:
    bell = waker_module._SocketBell()
    bell.ring()
    bell.ring()

    assert os.read(bell.fileno(), 8) == b"\0\0"
    bell.ring()
    bell.silence()
    with pytest.raises(BlockingIOError):
        os.read(bell.fileno(), 8)
    bell.close()
