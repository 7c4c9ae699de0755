"""Sockets of a service manager (LISTEN_FDS)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from anyio_mio._supervisor.adopted import AdoptionError, adopt_sockets


def handed_over(fd: int, count: str = "1") -> list[socket.socket]:
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "HOME": "/"}
    try:
        return adopt_sockets(environment, fd)
    finally:
        assert environment == {"HOME": "/"}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def test_sockets_meant_for_another_process_are_not_adopted() -> None:
    assert adopt_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []


def test_a_listening_socket_is_adopted_and_not_inherited_further() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        fd = os.dup(sock.fileno())
        os.set_inheritable(fd, True)
        (adopted,) = handed_over(fd)
        with adopted:
            assert adopted.getsockname() == sock.getsockname()
            assert not adopted.get_inheritable()


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "not a stream socket but SOCK_DGR",
        ),
        (socket.socket, "is not listening; right: ListenStream="),
        (lambda: socket.socketpair()[0], "is not listening"),
        (lambda: socket.socketpair(type=socket.SOCK_SEQPACKET)[0], "SOCK_SEQPACKET"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_socket_that_cannot_be_served_is_refused(
    make: Callable[[], socket.socket], message: str
) -> None:
    with make() as sock, pytest.raises(AdoptionError, match=message):
        handed_over(os.dup(sock.fileno()))


def test_a_file_and_a_closed_descriptor_are_refused() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(
        AdoptionError, match="is not an open socket: Socket operation on non-socket"
    ):
        handed_over(fd)
    os.close(fd)

    with pytest.raises(AdoptionError, match="is not an open socket: Bad file descriptor"):
        handed_over(fd)


@pytest.mark.parametrize("count", ["", "x", "-1", "1e3", "²"])
def test_a_count_that_is_no_number_is_refused(count: str) -> None:
    with pytest.raises(AdoptionError, match="right: the number of sockets"):
        handed_over(3, count)


def test_a_count_beyond_what_is_there_is_refused_at_the_first_missing_one() -> None:
    with pytest.raises(AdoptionError, match="passed 99999999 sockets, and descriptor 500 is no"):
        handed_over(500, "99999999")
