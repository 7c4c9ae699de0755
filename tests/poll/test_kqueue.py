"""kqueue's selector: what it asks the kernel for, and how it reads the answer.

The stand-in for the kernel only notes what it is asked. `tests/models/kqueue.py` is the model with
kqueue's behaviour, on which the other tests of the poller run.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from anyio_mio.poll import Event, Token
from anyio_mio.poll._sys import bits as bit
from anyio_mio.poll._sys.kqueue import (
    EV_ADD,
    EV_CLEAR,
    EV_DELETE,
    EV_EOF,
    EV_ERROR,
    EV_ONESHOT,
    FILTER_READ,
    FILTER_WRITE,
    KqueueSelector,
    bits_of,
)
from tests.poll.harness import flags_of


@dataclass
class Kevent:
    ident: int
    filter: int
    flags: int = 0
    fflags: int = 0


class Kqueue:
    """Keeps pairs of descriptor and filter, and fails like the kernel."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[int, int], int] = {}
        self.ready: list[Kevent] = []
        self.waits: list[float | None] = []
        self.error: OSError | None = None
        self.refused_filter: int | None = None
        self.closed = False

    def control(
        self, changes: Iterable[Kevent] | None, max_events: int, timeout: float | None = None, /
    ) -> list[Kevent]:
        for change in changes or ():
            self._apply(change)
        if not max_events:
            return []
        self.waits.append(timeout)
        taken, self.ready = self.ready[:max_events], self.ready[max_events:]
        return taken

    def _apply(self, change: Kevent) -> None:
        if self.error is not None and self.refused_filter in (None, change.filter):
            raise self.error
        pair = (change.ident, change.filter)
        if change.flags & EV_ADD:
            # A real one may keep the edge and oneshot flags of an existing pair.
            self.pairs.setdefault(pair, change.flags)
        elif self.pairs.pop(pair, None) is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def fileno(self) -> int:
        return 42

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kqueue:
    kernel = Kqueue()
    monkeypatch.setattr("select.kqueue", lambda: kernel, raising=False)
    monkeypatch.setattr("select.kevent", Kevent, raising=False)
    return kernel


@pytest.fixture
def selector(kernel: Kqueue) -> KqueueSelector:
    return KqueueSelector()


def test_each_direction_is_a_filter_with_edges(selector: KqueueSelector, kernel: Kqueue) -> None:
    selector.register(5, bit.READABLE | bit.READ_HANGUP | bit.WRITABLE)
    selector.register(6, bit.READABLE)

    assert kernel.pairs == {
        (5, FILTER_READ): EV_ADD | EV_CLEAR,
        (5, FILTER_WRITE): EV_ADD | EV_CLEAR,
        (6, FILTER_READ): EV_ADD | EV_CLEAR,
    }


def test_levels_and_oneshot_are_flags(selector: KqueueSelector, kernel: Kqueue) -> None:
    selector.register(5, bit.READABLE | bit.ONESHOT, edge=False)
    selector.register(6, bit.WRITABLE, edge=False)

    assert kernel.pairs == {
        (5, FILTER_READ): EV_ADD | EV_ONESHOT,
        (6, FILTER_WRITE): EV_ADD,
    }


def test_reregistering_replaces_filters_and_flags(selector: KqueueSelector, kernel: Kqueue) -> None:
    selector.register(5, bit.READABLE | bit.WRITABLE)

    selector.reregister(5, bit.READABLE | bit.ONESHOT, edge=False)

    assert kernel.pairs == {(5, FILTER_READ): EV_ADD | EV_ONESHOT}


def test_a_filter_that_is_gone_already_is_no_error(selector: KqueueSelector) -> None:
    selector.deregister(5)


def test_other_errors_are_raised(selector: KqueueSelector, kernel: Kqueue) -> None:
    kernel.error = OSError(errno.EBADF, "closed")

    with pytest.raises(OSError, match="closed"):
        selector.register(5, bit.READABLE)
    with pytest.raises(OSError, match="closed"):
        selector.deregister(5)


def test_a_pipe_whose_other_end_is_gone_registers(selector: KqueueSelector, kernel: Kqueue) -> None:
    kernel.error = OSError(errno.EPIPE, "broken pipe")

    selector.register(5, bit.WRITABLE)


def test_of_a_descriptor_whose_second_filter_is_refused_nothing_stays(
    selector: KqueueSelector, kernel: Kqueue
) -> None:
    kernel.refused_filter, kernel.error = FILTER_WRITE, OSError(errno.ENOMEM, "no memory")

    with pytest.raises(OSError, match="no memory"):
        selector.register(5, bit.READABLE | bit.WRITABLE)

    assert kernel.pairs == {}


def test_a_negative_descriptor_is_refused(selector: KqueueSelector) -> None:
    with pytest.raises(ValueError, match="-1 is not a descriptor"):
        selector.register(-1, bit.READABLE)


MAPPING = {
    (FILTER_READ, 0, 0): "readable",
    (FILTER_WRITE, 0, 0): "writable",
    (FILTER_READ, EV_EOF, 0): "readable read_closed",
    (FILTER_WRITE, EV_EOF, 0): "writable write_closed",
    (FILTER_READ, EV_EOF, errno.ECONNRESET): "readable read_closed error",
    (FILTER_WRITE, EV_EOF, errno.EPIPE): "writable write_closed error",
    (FILTER_READ, EV_ERROR, 0): "readable error",
    (FILTER_WRITE, EV_ERROR, 0): "writable error write_closed",
}


@pytest.mark.parametrize("event, flags", MAPPING.items())
def test_the_flags_follow_the_table(event: tuple[int, int, int], flags: str) -> None:
    kind, ev_flags, fflags = event

    bits = bits_of(Kevent(5, kind, ev_flags, fflags))

    assert flags_of(Event(Token(1), bits)) == set(flags.split())


def test_waits_are_passed_on_and_events_translated(
    selector: KqueueSelector, kernel: Kqueue
) -> None:
    kernel.ready = [Kevent(5, FILTER_READ), Kevent(5, FILTER_WRITE), Kevent(6, FILTER_READ)]

    assert selector.select(None, 2) == [(5, bit.READABLE), (5, bit.WRITABLE)]
    assert selector.select(1.5, 2) == [(6, bit.READABLE)]
    assert selector.select(0, 2) == []
    assert kernel.waits == [None, 1.5, 0]
    with pytest.raises(ValueError, match="cannot last"):
        selector.select(-1, 2)


def test_closing_and_nesting_are_passed_on(selector: KqueueSelector, kernel: Kqueue) -> None:
    with selector as entered:
        assert entered.fileno() == 42
        entered.rearm(5, bit.READABLE)

    assert kernel.closed


def test_the_constants_are_those_of_the_manual() -> None:
    assert (EV_ADD, EV_DELETE, EV_ONESHOT, EV_CLEAR) == (0x1, 0x2, 0x10, 0x20)
