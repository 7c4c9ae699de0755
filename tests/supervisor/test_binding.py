"""Addresses and listening sockets of `anyio-mio serve`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anyio_mio._supervisor.binding import BindError, TcpAddress, UnixAddress, parse


@pytest.mark.parametrize(
    "text, address",
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000)),
        ("[::1]:80", TcpAddress("::1", 80)),
        (":8000", TcpAddress("0.0.0.0", 8000)),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock")),
    ],
)
def test_an_address_is_understood(text: str, address: object) -> None:
    assert parse(text) == [address]


@pytest.mark.parametrize("text", ["8000", "127.0.0.1", "::1:80", "host:99999", "unix:", "a:b:c"])
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BindError, match=r"right: 127\.0\.0\.1:8000"):
        parse(text)


def test_an_address_is_written_as_it_is_read() -> None:
    texts = ["127.0.0.1:80", "[::1]:80", "unix:/run/app.sock"]

    assert [str(each) for text in texts for each in parse(text)] == texts


def test_a_bound_socket_listens_and_does_not_block() -> None:
    sock = TcpAddress("127.0.0.1", 0).bind(backlog=8, reuse_port=False)

    with sock, pytest.raises(BlockingIOError):
        sock.accept()


def test_two_reuse_port_sockets_share_a_port() -> None:
    with TcpAddress("127.0.0.1", 0).bind(backlog=8, reuse_port=True) as first:
        port = first.getsockname()[1]
        with TcpAddress("127.0.0.1", port).bind(backlog=8, reuse_port=True) as second:
            assert second.getsockname() == first.getsockname()


def test_a_path_that_a_dead_server_left_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    address = UnixAddress(path)
    address.bind(backlog=8, reuse_port=False).close()

    with address.bind(backlog=8, reuse_port=False):
        assert os.path.exists(path)
    address.clean_up()

    assert not os.path.exists(path)


def test_the_path_of_a_living_server_is_not_taken(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "app.sock"))

    with address.bind(backlog=8, reuse_port=False), pytest.raises(OSError, match="in use"):
        address.bind(backlog=8, reuse_port=False)


def test_a_file_at_the_path_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    path.write_text("precious")

    with pytest.raises(OSError, match="in use"):
        UnixAddress(str(path)).bind(backlog=8, reuse_port=False)

    assert path.read_text() == "precious"
