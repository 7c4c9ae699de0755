"""Requests cut anywhere, pipelined in any mixture, and broken off: each answer is its request's."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.asgi import apps
from tests.asgi.served import Client, Served, request, serving
from tests.asgi.test_requests import wait_for
from tests.shared.leaks import open_descriptors

TASKS_OF_A_SERVER = 12
"""More than it has without a connection, and fewer than the clients of a test add up to."""

PATHS = st.integers(0, 9999).map(lambda number: b"/name/%d" % number)
BODIES = st.binary(max_size=300)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """A request, its method, and the body of its answer."""
    kind = draw(st.sampled_from(["get", "head", "length", "chunks", "unread", "upgrade"]))
    path, body = draw(PATHS), draw(BODIES)
    length = b"Content-Length: %d" % len(body)
    if kind == "get":
        return request(b"GET", path), b"GET", path
    if kind == "head":
        return request(b"HEAD", path), b"HEAD", b""
    if kind == "length":
        return request(b"POST", b"/echo", length, body=body), b"POST", body
    if kind == "unread":
        return request(b"POST", path, length, body=body), b"POST", path
    if kind == "upgrade":
        fields = (b"Connection: Upgrade", b"Upgrade: h2c", length)
        return request(b"POST", b"/echo", *fields, body=body), b"POST", body
    size = draw(st.integers(1, 100))
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    raw = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return request(b"POST", b"/echo", b"Transfer-Encoding: chunked", body=raw), b"POST", body


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server that has as many tasks and descriptors after all tests as before."""
    with serving(apps.routes) as served:
        with served.connect() as client:
            client.get(b"/name/first")
        wait_for(lambda: served.tasks() <= TASKS_OF_A_SERVER)
        before = (served.tasks(), len(open_descriptors()))
        yield served
        wait_for(lambda: (served.tasks(), len(open_descriptors())) == before)


def send_cut(client: Client, data: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        client.send(data[begin:end])


CUTS = st.lists(st.integers(0, 100_000), max_size=12)
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SETTINGS
@given(mixture=st.lists(requests(), min_size=1, max_size=8), cuts=CUTS)
def test_each_answer_is_that_of_its_request(
    served: Served, mixture: list[tuple[bytes, bytes, bytes]], cuts: list[int]
) -> None:
    with served.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send_cut(client, b"".join(data for data, _, _ in mixture), cuts)
        for _, method, body in mixture:
            answer = client.read_answer(method)
            assert (answer.status, answer.body) == (200, body)


@SETTINGS
@given(mixture=st.lists(requests(), min_size=1, max_size=4), cuts=CUTS, end=st.integers(0, 10_000))
def test_a_client_that_breaks_off_harms_no_other(
    served: Served, mixture: list[tuple[bytes, bytes, bytes]], cuts: list[int], end: int
) -> None:
    data = b"".join(data for data, _, _ in mixture)
    with served.connect() as client:
        send_cut(client, data[: end % len(data)], cuts)
    with served.connect() as client:
        assert client.get(b"/name/next").body == b"/name/next"


@SETTINGS
@given(data=st.binary(max_size=400), cuts=CUTS)
def test_garbage_gets_a_refusal_or_nothing(served: Served, data: bytes, cuts: list[int]) -> None:
    with served.connect() as client:
        try:
            send_cut(client, data, cuts)
            client.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = client.read_all().removesuffix(b"<reset>")
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))


@SETTINGS
@given(mixture=st.lists(requests(), min_size=1, max_size=3), at=st.integers(0, 10_000),
       byte=st.integers(0, 255))  # fmt: skip
def test_a_changed_byte_never_yields_the_answer_of_another_request(
    served: Served, mixture: list[tuple[bytes, bytes, bytes]], at: int, byte: int
) -> None:
    data = bytearray(b"".join(data for data, _, _ in mixture))
    data[at % len(data)] = byte
    with served.connect() as client:
        client.send(bytes(data))
        client.sock.shutdown(socket.SHUT_WR)
        answers = client.read_all()
    assert answers.count(b"HTTP/1.1 200 OK") <= len(mixture)


FATES = ["answered", "slow", "half", "reset", "gone"]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    return Conversation(
        draw(st.lists(requests(), min_size=1, max_size=4)),
        draw(CUTS),
        draw(st.sampled_from(FATES)),
        draw(st.integers(0, 100)),
    )


@dataclass
class Conversation:
    """Requests, where they are cut, how the client ends, and after which part of them."""

    mixture: list[tuple[bytes, bytes, bytes]]
    cuts: list[int]
    fate: str
    percent: int

    def pieces(self) -> list[bytes]:
        data = b"".join(data for data, _, _ in self.mixture)
        if self.fate in ("reset", "gone"):
            data = data[: len(data) * self.percent // 100]
        edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in self.cuts)})
        return [data[begin:end] for begin, end in itertools.pairwise(edges)]

    def end(self, client: Client) -> None:
        """Read the answers in the client's way, or leave."""
        if self.fate == "reset":
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.fate in ("reset", "gone"):
            client.close()
            return
        if self.fate == "half":
            client.sock.shutdown(socket.SHUT_WR)
        for _ in range(30 if self.fate == "slow" else 0):
            client.buffer += client.sock.recv(1)
        for _, method, body in self.mixture:
            answer = client.read_answer(method)
            assert (answer.status, answer.body) == (200, body)
        if self.fate == "half":
            assert client.read_all() == b""


@SETTINGS
@given(talks=st.lists(conversations(), min_size=2, max_size=6))
def test_resets_and_slow_clients_among_pipelines_harm_no_other(
    served: Served, talks: list[Conversation]
) -> None:
    clients = [served.connect() for _ in talks]
    for client in clients:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for pieces in itertools.zip_longest(*(talk.pieces() for talk in talks)):
        for client, piece in zip(clients, pieces, strict=True):
            client.send(piece or b"")
    leavers_first = sorted(zip(talks, clients, strict=True), key=lambda each: each[0].fate > "half")
    for talk, client in reversed(leavers_first):
        with client:
            talk.end(client)
