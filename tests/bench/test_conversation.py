import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from anyio_mio._bench.conversation import Conversation, LostBytesError, payloads


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def talk(listener: socket.socket) -> Iterator[Conversation]:
    talk = Conversation(listener.getsockname()[1], 0, payloads(64))
    yield talk
    talk.close()


@pytest.fixture
def server(listener: socket.socket, talk: Conversation) -> Iterator[socket.socket]:
    sock, _ = listener.accept()
    talk.sock.setblocking(True)  # the tests take turns, so that nothing waits for long
    talk.confirm_connected()
    with sock:
        yield sock


def test_a_payload_that_comes_back_whole_is_a_round_trip(
    server: socket.socket, talk: Conversation
) -> None:
    talk.send(0)
    server.sendall(server.recv(64))

    assert talk.receive()
    assert talk.trips == 1


def test_a_payload_may_come_back_in_pieces(server: socket.socket, talk: Conversation) -> None:
    talk.send(0)
    data = server.recv(64)

    server.sendall(data[:10])
    assert not talk.receive()

    server.sendall(data[10:])
    assert talk.receive()


def test_other_bytes_are_noticed(server: socket.socket, talk: Conversation) -> None:
    talk.send(0)
    data = server.recv(64)
    server.sendall(data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(LostBytesError, match="other bytes came back on round trip 1"):
        talk.receive()


def test_the_answer_to_an_earlier_round_trip_is_noticed(
    server: socket.socket, talk: Conversation
) -> None:
    talk.send(0)
    data = server.recv(64)
    server.sendall(data)
    assert talk.receive()

    talk.send(0)
    server.sendall(data)

    with pytest.raises(LostBytesError, match="other bytes came back on round trip 2"):
        talk.receive()


def test_a_server_that_hangs_up_is_noticed(server: socket.socket, talk: Conversation) -> None:
    talk.send(0)
    server.recv(64)
    server.shutdown(socket.SHUT_WR)

    with pytest.raises(LostBytesError, match="closed the connection after 0 round trips"):
        talk.receive()


def test_a_refused_connection_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]

    with (
        pytest.raises(ConnectionRefusedError),
        closing(Conversation(port, 0, payloads(64))) as refused,
    ):
        refused.confirm_connected()
