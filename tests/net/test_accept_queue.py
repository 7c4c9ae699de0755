"""No connection that the system has accepted for a server is lost when the server stops."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from anyio_mio._net.accept_queue import is_reached_by_network, refuse_new

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no way")

SOON = 0.1


@pytest.fixture(params=["ipv4", "ipv6", "unix", "abstract"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory() as folder:
        families: dict[str, tuple[int, Any]] = {
            "ipv4": (socket.AF_INET, ("127.0.0.1", 0)),
            "ipv6": (socket.AF_INET6, ("::1", 0)),
            "unix": (socket.AF_UNIX, os.path.join(folder, "socket")),
            "abstract": (socket.AF_UNIX, f"\0{folder}"),
        }
        family, address = families[request.param]
        with socket.socket(family) as sock:
            try:
                sock.bind(address)
            except OSError as error:
                pytest.skip(str(error))
            sock.listen(8)
            sock.settimeout(SOON)
            yield sock


def connect(listener: socket.socket) -> socket.socket:
    client = socket.socket(listener.family)
    client.settimeout(SOON)
    try:
        client.connect(listener.getsockname())
    except BaseException:
        client.close()
        raise
    return client


def test_what_is_queued_can_be_accepted_and_nothing_is_queued_any_more(
    listener: socket.socket,
) -> None:
    with connect(listener) as early:
        refuse_new(listener)
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            connect(listener)
        accepted, _ = listener.accept()
        with accepted, pytest.raises((TimeoutError, BlockingIOError)):
            listener.accept()
        assert early.recv(1) == b""  # an end, not a reset


def test_an_open_connection_goes_on(listener: socket.socket) -> None:
    with connect(listener) as client:
        server, _ = listener.accept()
        with server:
            refuse_new(listener)
            client.sendall(b"hello")
            assert server.recv(5) == b"hello"
            server.sendall(b"there")
            assert client.recv(5) == b"there"


@pytest.mark.parametrize(
    "family, address, expected",
    [
        (socket.AF_INET, "127.0.0.1", False),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET6, "::", True),
    ],
)
def test_loopback_is_not_the_network(family: int, address: str, expected: bool) -> None:
    with socket.socket(family) as sock:
        try:
            sock.bind((address, 0))
        except OSError as error:
            pytest.skip(str(error))
        assert is_reached_by_network(sock) is expected


def test_a_unix_socket_is_not_the_network() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        assert not is_reached_by_network(sock)
