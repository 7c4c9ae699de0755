"""Edges made by hand: disarmed on delivery, armed again by whoever saw WouldBlock."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from anyio_mio.poll._sys.bits import BOTH, PRIORITY, READ_HANGUP, READABLE, WRITABLE
from anyio_mio.poll._sys.level import LevelSelector
from anyio_mio.poll._sys.scan import PollScan, Scan, SelectScan, default_scan
from tests.poll.conftest import Pair
from tests.poll.harness import QUIET

MakeScan: TypeAlias = Callable[[], Scan]

READS = READABLE | READ_HANGUP


@pytest.fixture(params=[PollScan, SelectScan])
def scan(request: pytest.FixtureRequest) -> Scan:
    made: Scan = request.param()
    return made


@pytest.fixture
def level(scan: Scan) -> Iterator[LevelSelector]:
    with LevelSelector(scan) as level:
        yield level


def silent(level: LevelSelector) -> bool:
    return level.select(QUIET, 16) == []


def test_new_data_is_silent_until_the_direction_is_armed_again(
    level: LevelSelector, unix: Pair
) -> None:
    reader, writer = unix
    level.register(reader.fileno(), READS)
    writer.send(b"x")
    assert level.select(1, 16) == [(reader.fileno(), READABLE)]
    writer.send(b"y")
    assert silent(level)

    level.rearm(reader.fileno(), READABLE)

    assert level.select(1, 16) == [(reader.fileno(), READABLE)]


def test_the_directions_are_armed_by_themselves(level: LevelSelector, unix: Pair) -> None:
    reader, writer = unix
    fd = reader.fileno()
    level.register(fd, READS | WRITABLE)
    assert level.select(1, 16) == [(fd, WRITABLE)]
    writer.send(b"x")
    assert level.select(1, 16) == [(fd, READABLE)]

    level.rearm(fd, WRITABLE)

    assert level.select(1, 16) == [(fd, WRITABLE)]
    assert silent(level)


def test_arming_does_not_widen_the_interest(level: LevelSelector, unix: Pair) -> None:
    level.register(unix[0].fileno(), READS)

    level.rearm(unix[0].fileno(), READABLE | WRITABLE)

    assert silent(level)


def test_a_hangup_is_told_once(level: LevelSelector) -> None:
    reader, writer = os.pipe()
    level.register(reader, READS)
    os.close(writer)

    [(fd, bits)] = level.select(1, 16)

    assert fd == reader
    assert bits & (READABLE | BOTH)
    assert silent(level)
    level.deregister(reader)
    os.close(reader)


def test_a_closed_descriptor_is_dropped_by_the_next_look(level: LevelSelector, unix: Pair) -> None:
    reader, writer = os.pipe()
    level.register(reader, READS)
    level.register(unix[0].fileno(), READS)
    os.close(reader)
    os.close(writer)

    assert silent(level)

    unix[1].send(b"x")
    assert level.select(1, 16) == [(unix[0].fileno(), READABLE)]
    with pytest.raises(FileNotFoundError):
        level.deregister(reader)


def test_a_reused_number_registers_as_a_new_one(level: LevelSelector, unix: Pair) -> None:
    first, first_peer = socket.socketpair()
    fd = first.fileno()
    level.register(fd, READS)
    first.close()
    os.dup2(unix[0].fileno(), fd)

    level.register(fd, WRITABLE)

    assert level.select(1, 16) == [(fd, WRITABLE)]
    os.close(fd)
    first_peer.close()


def test_watched_and_dropped_is_forgotten(scan: Scan, unix: Pair) -> None:
    fd = unix[0].fileno()
    scan.watch(fd, WRITABLE)
    assert scan.wait(1) == [(fd, WRITABLE)]

    scan.drop(fd)
    scan.drop(fd)

    assert scan.wait(0) == []


def test_a_look_sees_both_directions_at_once(scan: Scan, unix: Pair) -> None:
    reader, writer = unix
    writer.send(b"x")

    scan.watch(reader.fileno(), READABLE | WRITABLE)

    assert scan.wait(1) == [(reader.fileno(), READABLE | WRITABLE)]


def test_a_look_sees_urgent_data(scan: Scan, tcp: Pair) -> None:
    client, server = tcp
    scan.watch(client.fileno(), PRIORITY)

    server.send(b"!", socket.MSG_OOB)

    assert scan.wait(1) == [(client.fileno(), PRIORITY)]


def test_a_look_gives_closed_descriptors_back_without_bits(scan: Scan) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    scan.watch(reader, READABLE)
    os.close(reader)

    assert scan.wait(1) == [(reader, 0)]


def test_select_refuses_what_it_cannot_express() -> None:
    with pytest.raises(ValueError, match="below 1024, not 1024: use poll"):
        SelectScan().watch(1024, READABLE)


def test_poll_is_preferred_where_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(default_scan(), PollScan)

    monkeypatch.delattr(select, "poll")

    assert isinstance(default_scan(), SelectScan)


def test_a_level_selector_says_what_it_watches(unix: Pair) -> None:
    with LevelSelector() as level:
        level.register(unix[0].fileno(), READS)

        assert repr(level) == "<LevelSelector PollScan watching 1>"


class ReusedDuringTheLook:
    """A scan which reports a closed descriptor whose number is registered anew by then."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.looks = 0
        self.during_the_look: Callable[[], None] = lambda: None

    def watch(self, fd: int, bits: int) -> None: ...

    def drop(self, fd: int) -> None: ...

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        self.looks += 1
        if self.looks > 1:
            return [(self.fd, READABLE)]
        self.during_the_look()
        return [(self.fd, 0)]


def test_a_number_that_was_registered_anew_during_the_look_is_not_dropped(unix: Pair) -> None:
    first, peer = socket.socketpair()
    fd = first.fileno()
    scan = ReusedDuringTheLook(fd)
    with LevelSelector(scan) as level, peer:
        level.register(fd, READS)

        def reuse() -> None:
            level.deregister(fd)
            first.close()
            os.dup2(unix[0].fileno(), fd)
            level.register(fd, READS)

        scan.during_the_look = reuse

        assert level.select(1, 16) == [(fd, READABLE)]
        level.deregister(fd)
        os.close(fd)
