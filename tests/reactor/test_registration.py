"""One descriptor's readiness: lazily registered, cleared by its owner alone, final when closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from anyio_mio._reactor.reactor import INTEREST
from anyio_mio._reactor.registration import (
    READ_IS_FINAL,
    READ_WOULD_BLOCK,
    WAKES_READER,
    WAKES_WRITER,
    WRITE_WOULD_BLOCK,
    Registration,
)
from anyio_mio.poll._sys.bits import ERROR, HANGUP, PRIORITY, READ_HANGUP, READABLE, WRITABLE
from anyio_mio.testing import ScriptedSelector
from tests.kernel.harness import Busy, Closed
from tests.reactor.harness import Bench

CLOSED_BITS = [READ_HANGUP, HANGUP, ERROR]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def waiting(bench: Bench, fd: int = 5) -> Registration:
    """A registration for whose bytes the task ``reader`` waits."""
    registration = bench.reactor.register(fd)
    registration.ready &= READ_WOULD_BLOCK
    bench.park("reader", registration.wait_readable)
    return registration


@pytest.mark.invariant("R1")
def test_the_selector_hears_nothing_before_the_first_would_block(bench: Bench) -> None:
    registration = bench.reactor.register(5)
    registration.close()

    assert bench.calls == []


@pytest.mark.invariant("R1")
def test_one_registration_serves_both_directions_for_life(bench: Bench) -> None:
    registration = waiting(bench)
    registration.ready &= WRITE_WOULD_BLOCK
    bench.park("writer", registration.wait_writable)
    bench.deliver((5, READABLE | WRITABLE))
    registration.ready = 0
    bench.park("reader", registration.wait_readable)

    assert bench.calls == [("register", 5)]
    assert bench.selector.registered == {5: INTEREST}  # type: ignore[attr-defined]


@pytest.mark.invariant("R2")
def test_a_new_registration_is_worth_trying(bench: Bench) -> None:
    registration = bench.reactor.register(5)

    assert registration.ready & WAKES_READER
    assert registration.ready & WAKES_WRITER


@pytest.mark.invariant("R2")
def test_an_event_without_a_waiter_is_remembered(bench: Bench) -> None:
    registration = waiting(bench)
    bench.deliver((5, READABLE))
    registration.ready &= READ_WOULD_BLOCK

    assert bench.deliver((5, READABLE)) == []

    assert registration.ready & WAKES_READER


@pytest.mark.invariant("R2")
def test_each_direction_is_cleared_by_itself(bench: Bench) -> None:
    registration = bench.reactor.register(5)

    registration.ready &= READ_WOULD_BLOCK

    assert not registration.ready & WAKES_READER
    assert registration.ready & WAKES_WRITER


@pytest.mark.invariant("R3")
@pytest.mark.parametrize("bit", CLOSED_BITS)
def test_closed_bits_wake_the_reader_and_stay(bench: Bench, bit: int) -> None:
    registration = waiting(bench)

    assert bench.deliver((5, bit)) == ["reader"]
    registration.ready &= ~READABLE  # a short read

    assert registration.ready & WAKES_READER
    assert registration.ready & READ_IS_FINAL


@pytest.mark.invariant("R3")
@pytest.mark.parametrize("bit", [HANGUP, ERROR])
def test_both_directions_learn_of_a_hangup(bench: Bench, bit: int) -> None:
    registration = waiting(bench)
    registration.ready &= WRITE_WOULD_BLOCK
    bench.park("writer", registration.wait_writable)

    assert bench.deliver((5, bit)) == ["reader", "writer"]


@pytest.mark.invariant("R3")
@pytest.mark.parametrize("bit", [*CLOSED_BITS, PRIORITY])
def test_would_block_disproves_closed_bits_of_a_stale_event(bench: Bench, bit: int) -> None:
    registration = waiting(bench)
    bench.deliver((5, bit))

    registration.ready &= READ_WOULD_BLOCK

    assert not registration.ready & WAKES_READER


def test_a_half_closed_reader_does_not_wake_the_writer(bench: Bench) -> None:
    registration = waiting(bench)
    registration.ready &= WRITE_WOULD_BLOCK
    bench.park("writer", registration.wait_writable)

    assert bench.deliver((5, READABLE | READ_HANGUP)) == ["reader"]


@pytest.mark.invariant("R4")
def test_a_second_reader_is_refused_and_the_first_is_served(bench: Bench) -> None:
    registration = waiting(bench)

    with pytest.raises(Busy):
        bench.park("second", registration.wait_readable)

    assert bench.deliver((5, READABLE)) == ["reader"]


@pytest.mark.invariant("R4")
def test_a_second_writer_is_refused(bench: Bench) -> None:
    registration = bench.reactor.register(5)
    bench.park("writer", registration.wait_writable)

    with pytest.raises(Busy):
        bench.park("second", registration.wait_writable)


def test_a_waiter_that_was_woken_cannot_be_cancelled_any_more(bench: Bench) -> None:
    registration = waiting(bench)
    bench.deliver((5, READABLE))

    assert registration.abort("reader") is False


def test_a_cancelled_waiter_is_not_woken(bench: Bench) -> None:
    waiting(bench)
    assert bench.scheduler.cancel("reader")

    assert bench.deliver((5, READABLE)) == []


def test_a_wait_that_the_same_task_has_dropped_is_no_second_reader(bench: Bench) -> None:
    registration = waiting(bench)
    del bench.scheduler.parked["reader"]
    bench.park("reader", registration.wait_readable)
    registration.ready &= WRITE_WOULD_BLOCK
    bench.park("writer", registration.wait_writable)
    del bench.scheduler.parked["writer"]
    bench.park("writer", registration.wait_writable)
    bench.deliver((5, READABLE | WRITABLE))

    assert bench.scheduler.woken == ["reader", "writer"]


def test_after_a_shutdown_writing_is_tried_again_and_the_writer_is_woken(bench: Bench) -> None:
    registration = bench.reactor.register(5)
    registration.ready = 0
    bench.park("reader", registration.wait_readable)
    bench.park("writer", registration.wait_writable)
    registration.try_writing_again()

    assert bench.scheduler.woken == ["writer"]
    assert registration.ready == WRITABLE


@pytest.mark.parametrize("edge_triggered", [True, False])
@pytest.mark.parametrize("other", [READABLE, WRITABLE])
def test_arming_one_direction_leaves_the_readiness_of_the_other(
    edge_triggered: bool, other: int
) -> None:
    bench = Bench(ScriptedSelector(edge_triggered=edge_triggered))
    registration = bench.reactor.register(5)
    registration.ready = other
    if other == WRITABLE:
        bench.park("task", registration.wait_readable)
    else:
        bench.park("task", registration.wait_writable)

    assert registration.ready == other


@pytest.mark.invariant("R5")
def test_closing_wakes_both_waiters_with_the_closed_error(bench: Bench) -> None:
    registration = waiting(bench)
    registration.ready &= WRITE_WOULD_BLOCK
    bench.park("writer", registration.wait_writable)

    registration.close()

    assert {task: type(e) for task, e in bench.scheduler.failed.items()} == {
        "reader": Closed,
        "writer": Closed,
    }


@pytest.mark.invariant("R5")
def test_closing_costs_no_system_call(bench: Bench) -> None:
    waiting(bench).close()

    assert bench.calls == [("register", 5)]
    assert bench.reactor.statistics().registrations == 0


@pytest.mark.invariant("R5")
@pytest.mark.parametrize("reason", ["handed out", "forked"])
def test_where_a_duplicate_may_live_on_closing_deregisters(bench: Bench, reason: str) -> None:
    registration = waiting(bench)
    registration.may_be_shared = reason == "handed out"
    bench.reactor.has_forked = reason == "forked"

    registration.close()

    assert bench.calls == [("register", 5), ("deregister", 5)]


@pytest.mark.invariant("R5")
def test_a_stale_event_of_a_closed_number_is_counted(bench: Bench) -> None:
    waiting(bench).close()

    assert bench.deliver((5, READABLE | HANGUP)) == []

    assert bench.reactor.statistics().stale_events == 1


@pytest.mark.invariant("R5")
def test_a_stale_event_of_a_reused_number_is_a_spurious_wake_up(bench: Bench) -> None:
    waiting(bench).close()
    bench.scheduler.parked.clear()
    bench.selector.registered.clear()  # type: ignore[attr-defined]
    reused = waiting(bench)

    assert bench.deliver((5, READABLE | READ_HANGUP | HANGUP | ERROR)) == ["reader"]

    reused.ready &= READ_WOULD_BLOCK & WRITE_WOULD_BLOCK
    assert not reused.ready & (WAKES_READER | WAKES_WRITER)
    bench.park("reader", reused.wait_readable)
    assert bench.deliver((5, READABLE)) == ["reader"]


def test_closing_twice_is_closing_once(bench: Bench) -> None:
    registration = waiting(bench)

    registration.close()
    registration.close()

    assert len(bench.scheduler.failed) == 1


def test_a_descriptor_that_the_selector_refuses_leaves_nobody_waiting(bench: Bench) -> None:
    bench.selector.refusals[5] = OSError(28, "no space")  # type: ignore[attr-defined]
    registration = bench.reactor.register(5)

    for wait in (registration.wait_readable, registration.wait_writable):
        with pytest.raises(OSError, match="no space"):
            bench.park("task", wait)

    assert registration.reader is None
    assert registration.writer is None
    assert not registration.armed


def test_the_reactor_counts_what_it_saw(bench: Bench) -> None:
    waiting(bench)
    bench.park("foreign", bench.reactor.foreign.wait_readable, 6)

    statistics = bench.reactor.statistics()
    assert (statistics.registrations, statistics.tasks_waiting) == (2, 2)

    bench.deliver((5, READABLE), (6, READABLE))
    statistics = bench.reactor.statistics()
    assert (statistics.events, statistics.tasks_waiting) == (2, 0)


@pytest.mark.invariant("R2")
def test_a_short_read_proves_nothing_where_no_urgent_mark_is_told() -> None:
    bench = Bench(ScriptedSelector(tells_priority=False))

    assert not bench.reactor.register(5).trusts_short


class TestEmulatedEdges:
    """A selector that disarms as it delivers wants to hear of each WouldBlock."""

    @pytest.fixture
    def bench(self) -> Bench:
        return Bench(ScriptedSelector(edge_triggered=False))

    def test_each_wait_arms_its_direction_again(self, bench: Bench) -> None:
        registration = waiting(bench)
        bench.deliver((5, READABLE))
        registration.ready &= READ_WOULD_BLOCK

        bench.park("reader", registration.wait_readable)

        assert bench.calls == [("register", 5), ("rearm", 5)]

    @pytest.mark.invariant("R2")
    def test_a_short_read_proves_nothing(self, bench: Bench) -> None:
        assert not bench.reactor.register(5).trusts_short

    def test_closing_deregisters(self, bench: Bench) -> None:
        waiting(bench).close()

        assert bench.calls == [("register", 5), ("deregister", 5)]

    def test_an_internal_descriptor_is_armed_again_after_its_callback(self, bench: Bench) -> None:
        log: list[str] = []
        bench.reactor.watch_internal(7, lambda: log.append("called"))

        bench.deliver((7, READABLE))

        assert log == ["called"]
        assert bench.calls == [("register", 7), ("rearm", 7)]


@pytest.mark.invariant("R7")
def test_after_a_fork_every_use_but_closing_is_refused(bench: Bench) -> None:
    registration = waiting(bench)
    bench.scheduler.parked.clear()
    bench.reactor.has_forked = True
    bench.reactor.die_in_child()

    with pytest.raises(RuntimeError, match="forked"):
        bench.park("other", bench.reactor.register(6).wait_readable)
    with pytest.raises(RuntimeError, match="forked"):
        bench.park("foreign", bench.reactor.foreign.wait_readable, 7)
    with pytest.raises(RuntimeError, match="forked"):
        bench.reactor.poll.select(0, 1)
    bench.scheduler.parked["reader"] = registration
    registration.close()
    bench.reactor.close()

    assert bench.calls == [("register", 5)]


class Signalled(Registration):
    """A wait that a signal's handler breaks off, as the time limit of a test does."""

    __slots__ = ()

    async def wait_readable(self) -> None:
        raise TimeoutError("the time limit of a test")


def read(*results: BaseException | bytes) -> Callable[[], bytes]:
    """An operation with these results, one after the other."""
    left = iter(results)

    def operation() -> bytes:
        result = next(left)
        if isinstance(result, BaseException):
            raise result
        return result

    return operation


def attempt(registration: Registration, operation: Callable[[], bytes]) -> bytes:
    coroutine = registration.attempt(WAKES_READER, lambda error: Closed(str(error)), operation)
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return bytes(ended.value.value)


@pytest.mark.invariant("R2")
def test_an_attempt_that_need_not_wait_leaves_the_readiness_alone(bench: Bench) -> None:
    registration = bench.reactor.register(5)
    assert attempt(registration, read(b"x")) == b"x"
    assert registration.ready & READABLE


@pytest.mark.invariant("R2")
def test_an_attempt_that_would_block_waits(bench: Bench) -> None:
    with pytest.raises(TimeoutError):
        attempt(Signalled(bench.reactor, 5), read(BlockingIOError(), b"x"))


def test_an_error_of_the_operation_is_translated(bench: Bench) -> None:
    with pytest.raises(Closed) as caught:
        attempt(bench.reactor.register(5), read(ConnectionResetError("reset")))
    assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_an_error_from_outside_during_the_wait_is_not_translated(bench: Bench) -> None:
    """`TimeoutError` is an OSError, and is none of the socket's here."""
    registration = Signalled(bench.reactor, 5)
    registration.ready = 0
    with pytest.raises(TimeoutError, match="time limit"):
        attempt(registration, read(b"x"))
