"""AnyIO's attributes of a socket: each is looked up when it is asked for."""

from __future__ import annotations

import socket
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, UNIXSocketStream
from anyio.abc import SocketStream as AbstractSocketStream

import anyio_mio
from anyio_mio._net.socket_base import SocketBase
from tests.shared.pairs import tcp_streams

EVERY = {
    SocketAttribute.family,
    SocketAttribute.local_address,
    SocketAttribute.local_port,
    SocketAttribute.raw_socket,
    SocketAttribute.remote_address,
    SocketAttribute.remote_port,
}


@pytest.fixture
def peer_names(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The calls of ``getpeername()``."""
    calls: list[object] = []
    real = SocketBase._peer_name

    def note(self: SocketBase) -> Any:
        calls.append(self)
        return real(self)

    monkeypatch.setattr(SocketBase, "_peer_name", note)
    return calls


def test_the_raw_socket_costs_no_question_to_the_system(peer_names: list[object]) -> None:
    async def main() -> None:
        async with tcp_streams() as (client, _):
            for _ in range(3):
                client.extra(SocketAttribute.raw_socket)
            client.extra(SocketAttribute.family)

    anyio_mio.run(main)
    assert peer_names == []


def test_a_streams_peer_is_asked_for_once(peer_names: list[object]) -> None:
    async def main() -> None:
        async with tcp_streams() as (client, server):
            for _ in range(3):
                address = client.extra(SocketAttribute.remote_address)
                assert address == server.extra(SocketAttribute.local_address)
                assert client.extra(SocketAttribute.remote_port) == address[1]

    anyio_mio.run(main)
    assert len(peer_names) == 1


def test_they_are_those_of_anyio() -> None:
    async def main() -> None:
        async with tcp_streams() as (client, _):
            everything = dict(client.extra_attributes)
            assert set(everything) == EVERY
            assert len(client.extra_attributes) == len(EVERY)
            assert everything[SocketAttribute.family]() is socket.AF_INET
            with pytest.raises(anyio.TypedAttributeLookupError):
                client.extra(object())

    anyio_mio.run(main)


def test_a_listener_has_no_peer_and_a_unix_socket_no_ports() -> None:
    async def main() -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as multi:
            (listener,) = multi.listeners
            found: set[Any] = set(listener.extra_attributes)
            assert found == EVERY - {
                SocketAttribute.remote_address,
                SocketAttribute.remote_port,
            }
            assert listener.extra(SocketAttribute.remote_port, None) is None
        one, other = socket.socketpair()
        async with await UNIXSocketStream.from_socket(one) as stream:
            assert stream.extra(SocketAttribute.local_port, None) is None
            assert stream.extra(SocketAttribute.remote_address, None) is not None
        other.close()

    anyio_mio.run(main)


def test_the_names_of_ipv6_peers_are_host_and_port() -> None:
    async def main() -> None:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
            client = socket.create_connection(listening.getsockname()[:2])
            async with await AbstractSocketStream.from_socket(client) as stream:
                port = listening.getsockname()[1]
                assert stream.extra(SocketAttribute.remote_address) == ("::1", port)

    anyio_mio.run(main)
