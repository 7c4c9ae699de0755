"""Requests cut anywhere, pipelined in any mixture, and broken off: each answer is its request's."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.asgi import apps
from tests.asgi.served import Client, Served, request, serving

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
    with serving(apps.routes) as served:
        yield served


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
