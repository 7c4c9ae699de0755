"""Addresses and listening sockets of `anyio-mio serve`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from anyio_mio._supervisor import listening
from anyio_mio._supervisor.binding import BindError, TcpAddress, UnixAddress, parse
from anyio_mio._supervisor.listening import ListeningSockets


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


def test_a_name_stands_for_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", ("127.0.0.1", 0)), (0, 0, 0, "", ("127.0.0.2", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found, found[0]])

    assert parse("name:80") == [TcpAddress("127.0.0.1", 80), TcpAddress("127.0.0.2", 80)]


@pytest.mark.parametrize("name", ["a..b", "x" * 70, "no such name"])
def test_a_name_without_an_address_is_one_line(name: str) -> None:
    with pytest.raises(BindError, match="has no address here") as raised:
        parse(f"{name}:80")

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("workers, share", [(1, False), (2, False), (2, True)])
def test_every_address_is_listened_on_with_the_port_of_the_first(
    workers: int, share: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [TcpAddress("127.0.0.1", 0), TcpAddress("127.0.0.2", 0)]
    monkeypatch.setattr(listening, "parse", lambda text: addresses)
    with ListeningSockets(workers, 8, share=share) as sockets:
        sockets.bind("name:0")
        first, second = sockets.addresses()
        everything = {sock for slot in sockets.slots for sock in slot}

        assert first.rpartition(":")[2] == second.rpartition(":")[2] != "0"
        assert sockets.are_shared == share
        assert len(everything) == (4 if workers == 2 and not share else 2)


def test_an_address_that_this_machine_does_not_have_is_left_out_if_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = TcpAddress("192.0.2.1", 0)
    monkeypatch.setattr(listening, "parse", lambda text: [absent, TcpAddress("127.0.0.1", 0)])
    with ListeningSockets(1, 8, share=False) as sockets:
        sockets.bind("name:0")
        assert len(sockets.addresses()) == 1
    monkeypatch.setattr(listening, "parse", lambda text: [absent])
    with (
        ListeningSockets(1, 8, share=False) as sockets,
        pytest.raises(BindError, match="cannot listen on 192"),
    ):
        sockets.bind("name:0")


def test_the_path_of_a_server_that_came_after_is_not_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with ListeningSockets(1, 8, share=False) as old:
        old.bind(f"unix:{path}")
        for sock in old.slots[0]:
            sock.close()
        with ListeningSockets(1, 8, share=False) as new:
            new.bind(f"unix:{path}")
            old.close()
            assert os.path.exists(path)

    assert not os.path.exists(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no way")
def test_a_server_that_stops_refuses_clients_but_not_on_sockets_that_it_was_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        sockets = ListeningSockets(2, 8, share=False)
        with sockets:
            sockets.add(given.dup())
            sockets.bind("127.0.0.1:0")
            assert not sockets.refuse_new()  # to wait for a handshake: loopback needs no time
            for sock in {sock for slot in sockets.slots for sock in slot[1:]}:
                with pytest.raises(TimeoutError):
                    socket.create_connection(sock.getsockname(), 0.1).close()
            socket.create_connection(given.getsockname(), 1).close()


def test_handshakes_with_clients_on_a_network_get_time() -> None:
    with ListeningSockets(1, 8, share=False) as sockets:
        sockets.bind(":0")
        assert sockets.refuse_new()
