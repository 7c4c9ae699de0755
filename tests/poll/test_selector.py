"""The contract of a selector, below tokens: raw pairs, exact errors, both triggers."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from anyio_mio.poll import Selector, available_selectors, default_selector
from anyio_mio.poll._sys import selector as selector_module
from anyio_mio.poll._sys.bits import ERROR, HANGUP, ONESHOT, READ_HANGUP, READABLE, WRITABLE
from anyio_mio.poll._sys.timeout import MAX_TIMEOUT, clamped
from tests.poll.conftest import Pair
from tests.poll.harness import QUIET
from tests.shared.leaks import open_descriptors

READS = READABLE | READ_HANGUP


def silent(selector: Selector) -> bool:
    return selector.select(QUIET, 16) == []


def test_pairs_are_descriptor_and_bits(selector: Selector, unix: Pair) -> None:
    selector.register(unix[0].fileno(), WRITABLE)

    assert selector.select(1, 16) == [(unix[0].fileno(), WRITABLE)]


def test_registering_twice_is_file_exists(selector: Selector, unix: Pair) -> None:
    if selector.name == "kqueue":
        pytest.skip("kqueue takes it as a change")
    selector.register(unix[0].fileno(), READS)

    with pytest.raises(FileExistsError):
        selector.register(unix[0].fileno(), READS)


def test_an_unknown_descriptor_is_file_not_found(selector: Selector, unix: Pair) -> None:
    if selector.name == "kqueue":
        pytest.skip("kqueue cannot tell")
    with pytest.raises(FileNotFoundError):
        selector.reregister(unix[0].fileno(), READS)
    with pytest.raises(FileNotFoundError):
        selector.deregister(unix[0].fileno())


def test_a_closed_descriptor_is_ebadf(selector: Selector) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)

    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is the point
        selector.register(reader, READS)

    assert caught.value.errno == errno.EBADF


def test_a_negative_descriptor_is_a_value_error(selector: Selector) -> None:
    with pytest.raises(ValueError, match="descriptor"):
        selector.register(-1, READS)


def test_files_and_directories_are_not_permitted(selector: Selector, tmp_path: Path) -> None:
    if selector.name == "kqueue":
        pytest.skip("kqueue takes them")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path):
        fd = os.open(path, os.O_RDONLY)
        with pytest.raises(PermissionError):
            selector.register(fd, READS)
        os.close(fd)


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_capacity_is_the_most_that_comes(selector: Selector, capacity: int) -> None:
    pairs = [socket.socketpair() for _ in range(4)]
    for first, _ in pairs:
        selector.register(first.fileno(), WRITABLE)

    seen: list[int] = []
    while len(seen) < 4:
        batch = selector.select(1, capacity)
        assert 1 <= len(batch) <= capacity
        seen += [fd for fd, _ in batch]

    assert sorted(seen) == sorted(first.fileno() for first, _ in pairs)
    for pair in pairs:
        for end in pair:
            end.close()


def test_edges_tell_a_state_once(selector: Selector, unix: Pair) -> None:
    selector.register(unix[0].fileno(), READS | WRITABLE)

    assert selector.select(1, 16) == [(unix[0].fileno(), WRITABLE)]
    assert silent(selector)


def test_levels_tell_a_state_as_long_as_it_lasts(selector: Selector, unix: Pair) -> None:
    reader, writer = unix
    selector.register(reader.fileno(), READS, edge=False)
    writer.send(b"xy")

    for _ in range(3):
        assert selector.select(1, 16) == [(reader.fileno(), READABLE)]
        reader.recv(1, socket.MSG_PEEK)

    reader.recv(2)
    assert silent(selector)


def test_levels_do_not_starve_each_other(selector: Selector) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    for first, _ in pairs:
        selector.register(first.fileno(), WRITABLE, edge=False)

    seen = [fd for _ in range(6) for fd, _ in selector.select(1, 1)]

    assert sorted(seen) == sorted([first.fileno() for first, _ in pairs] * 2)
    for pair in pairs:
        for end in pair:
            end.close()


@pytest.mark.parametrize("edge", [False, True])
def test_oneshot_tells_once_until_reregistered(
    selector: Selector, unix: Pair, *, edge: bool
) -> None:
    reader, writer = unix
    fd = reader.fileno()
    selector.register(fd, READS | ONESHOT, edge=edge)
    writer.send(b"x")
    assert selector.select(1, 16) == [(fd, READABLE)]
    writer.send(b"y")
    selector.rearm(fd, READABLE)
    assert silent(selector)

    selector.reregister(fd, READS | ONESHOT, edge=edge)

    assert selector.select(1, 16) == [(fd, READABLE)]
    assert silent(selector)


def test_a_hangup_is_told_without_being_asked_for(selector: Selector) -> None:
    reader, writer = os.pipe()
    selector.register(writer, WRITABLE)
    assert selector.select(1, 16) == [(writer, WRITABLE)]

    os.close(reader)
    selector.rearm(writer, WRITABLE)

    [(fd, bits)] = selector.select(1, 16)
    assert fd == writer
    assert bits & (ERROR | HANGUP | WRITABLE)
    selector.deregister(writer)
    os.close(writer)


def test_rearming_what_is_not_registered_is_ignored(selector: Selector, unix: Pair) -> None:
    selector.rearm(unix[0].fileno(), READABLE)

    assert silent(selector)


def test_a_zero_timeout_never_blocks(selector: Selector) -> None:
    start = time.monotonic()
    for _ in range(100):
        assert selector.select(0, 16) == []

    assert time.monotonic() - start < 1


def test_a_selector_is_a_context_manager(make_selector: Callable[[], Selector]) -> None:
    before = open_descriptors()

    with make_selector() as selector:
        assert repr(selector)

    selector.close()
    assert open_descriptors() == before
    with pytest.raises(ValueError, match="closed"):
        selector.select(0, 16)


def test_only_native_edges_are_told_as_such(selector: Selector) -> None:
    assert selector.edge_triggered == (selector.name != "level")
    assert repr(selector)


def test_the_best_selector_is_the_default() -> None:
    with default_selector() as selector:
        assert selector.name == available_selectors()[0]


@pytest.mark.parametrize("name", available_selectors())
def test_a_selector_can_be_forced_by_name(name: str) -> None:
    with default_selector(name) as selector:
        assert selector.name == name


def test_an_unknown_name_is_answered_with_the_choices() -> None:
    with pytest.raises(ValueError, match="choose one of 'epoll', 'kqueue', 'level'"):
        default_selector("iocp")


def test_a_selector_of_elsewhere_is_answered_with_what_is_here() -> None:
    missing = next(name for name in selector_module.CHOICES if name not in available_selectors())

    with pytest.raises(ValueError, match=f"no {missing}: choose one of .*'level'"):
        default_selector(missing)


def test_a_platform_without_epoll_and_kqueue_gets_level(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("epoll", "kqueue"):
        monkeypatch.delattr(f"select.{name}", raising=False)

    assert available_selectors() == ("level",)
    with default_selector() as selector:
        assert selector.name == "level"


def test_a_timeout_is_cut_to_what_every_system_takes() -> None:
    assert clamped(0) == 0
    assert clamped(1.5) == 1.5
    assert clamped(1e300) == clamped(float("inf")) == MAX_TIMEOUT
    assert MAX_TIMEOUT * 1000 < 2**31


@pytest.mark.skipif("epoll" not in available_selectors(), reason="a limit of epoll")
def test_more_descriptors_than_epoll_watches_are_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, unix: Pair
) -> None:
    class Full:
        def register(self, fd: int, bits: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name: str) -> object:
            return lambda *_: None

    monkeypatch.setattr("select.epoll", Full)
    with (
        default_selector("epoll") as selector,
        pytest.raises(OSError, match="max_user_watches") as caught,
    ):
        selector.register(unix[0].fileno(), READS)

    assert caught.value.errno == errno.ENOSPC
