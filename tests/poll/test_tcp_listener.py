"""Accepting: smoke, sockets that others made, errors, and connections that come later."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from anyio_mio.poll import Poll, Selector
from tests.poll.harness import (
    READABLE,
    WRITABLE,
    A,
    B,
    connected_to,
    expect_events,
    expect_no_events,
    until_it_would_block,
)


@contextmanager
def listening(host: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with listener:
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_makes_its_listener_readable(poll: Poll, host: str) -> None:
    with listening(host) as listener:
        poll.registry.register(listener, A, READABLE)
        expect_no_events(poll)
        with connected_to(listener) as client:
            expect_events(poll, (A, "readable"))

            accepted, address = listener.accept()

            with accepted:
                assert address[:2] == client.getsockname()[:2]
                assert accepted.getsockname() == client.getpeername()
            with pytest.raises(BlockingIOError):
                listener.accept()
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_a_listener_is_neither_blocking_nor_inherited(listener: socket.socket) -> None:
    assert not listener.getblocking()
    assert not listener.get_inheritable()


def test_an_accepted_socket_can_be_polled(poll: Poll, listener: socket.socket) -> None:
    with connected_to(listener) as client:
        accepted, _ = listener.accept()
        with accepted:
            accepted.setblocking(False)
            poll.registry.register(accepted, B, READABLE)
            client.send(b"x")

            expect_events(poll, (B, "readable"))

            assert accepted.recv(2) == b"x"
            with pytest.raises(BlockingIOError):
                accepted.recv(1)
            assert not accepted.get_inheritable()


def test_a_second_connection_makes_a_second_event(poll: Poll, listener: socket.socket) -> None:
    poll.registry.register(listener, A, READABLE)
    for _ in range(2):
        with connected_to(listener):
            expect_events(poll, (A, "readable"))
            [connection] = until_it_would_block(poll, listener, lambda: listener.accept()[0])
            connection.close()
            expect_no_events(poll)


def test_an_adopted_listener_works_like_any_other(poll: Poll, listener: socket.socket) -> None:
    with socket.socket(fileno=listener.detach()) as adopted:
        poll.registry.register(adopted, A, READABLE)
        with connected_to(adopted):
            expect_events(poll, (A, "readable"))
            adopted.accept()[0].close()


def test_a_raw_descriptor_makes_the_round_trip(listener: socket.socket) -> None:
    name = listener.getsockname()

    with socket.socket(fileno=listener.detach()) as again:
        assert again.getsockname() == name


def test_the_time_to_live_is_kept(listener: socket.socket) -> None:
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 99)

    assert listener.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 99


def test_reregistering_changes_the_token(poll: Poll, listener: socket.socket) -> None:
    poll.registry.register(listener, A, READABLE)
    poll.registry.reregister(listener, B, READABLE)

    with connected_to(listener):
        assert set(expect_events(poll, (B, "readable"))) == {B}


def test_after_deregistering_there_are_no_events_yet_accept_works(
    poll: Poll, listener: socket.socket
) -> None:
    poll.registry.register(listener, A, READABLE)
    with connected_to(listener):
        poll.registry.deregister(listener)

        expect_no_events(poll)

        listener.accept()[0].close()


def test_a_listener_is_never_writable(poll: Poll, listener: socket.socket) -> None:
    poll.registry.register(listener, A, READABLE | WRITABLE)
    with connected_to(listener):
        assert expect_events(poll, (A, "readable")) == {A: {"readable"}}


def test_closing_a_listener_makes_no_event(poll: Poll) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    poll.registry.register(listener, A, READABLE)
    poll.registry.deregister(listener)

    listener.close()

    expect_no_events(poll)


def test_an_address_cannot_be_bound_twice(listener: socket.socket) -> None:
    with socket.socket() as second, pytest.raises(OSError, match="in use") as caught:
        second.bind(listener.getsockname())

    assert caught.value.errno == errno.EADDRINUSE


def test_a_listener_that_was_shut_down_hangs_up(
    poll: Poll, selector: Selector, listener: socket.socket, tells_closing: None
) -> None:
    if selector.name == "kqueue":
        pytest.skip("the BSDs do not shut listeners down (ENOTCONN)")
    poll.registry.register(listener, A, READABLE)

    listener.shutdown(socket.SHUT_RDWR)

    expect_events(poll, (A, "read_closed"))
    with pytest.raises(OSError, match="Invalid argument") as caught:
        listener.accept()
    assert caught.value.errno == errno.EINVAL


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_queued_when_descriptors_run_out_makes_no_second_event(
    poll: Poll, listener: socket.socket
) -> None:
    """So whoever sees EMFILE comes back with a timer: a number that gets free tells nobody."""
    poll.registry.register(listener, A, READABLE)
    with connected_to(listener):
        expect_events(poll, (A, "readable"))
        with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
            listener.accept()

        expect_no_events(poll)

        listener.accept()[0].close()


def test_only_a_new_connection_tells_again_after_descriptors_ran_out(
    poll: Poll, listener: socket.socket, only_native_edges: None
) -> None:
    poll.registry.register(listener, A, READABLE)
    with connected_to(listener):
        expect_events(poll, (A, "readable"))
        with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
            listener.accept()

        with connected_to(listener):
            expect_events(poll, (A, "readable"))
            accepted = until_it_would_block(poll, listener, lambda: listener.accept()[0])

    assert len(accepted) == 2
    for connection in accepted:
        connection.close()
