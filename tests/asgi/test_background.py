"""An application that works on after its answer keeps nobody waiting but itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from anyio_mio.asgi.connection import Connection
from tests.asgi import apps
from tests.asgi.served import KINDS, Kind, Served, request, serving
from tests.asgi.test_requests import wait_for
from tests.asgi.test_slow_clients import left_of


class Work:
    """Applications that work on after their answer, until they are let go."""

    def __init__(self) -> None:
        self.begun = self.done = self.cancelled = 0
        self.gate = anyio.Event()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await apps.lifespan(receive, send)
            return
        await apps.routes(scope, receive, send)
        if scope["query_string"] == b"work":
            self.begun += 1
            try:
                await self.gate.wait()
            except anyio.get_cancelled_exc_class():
                self.cancelled += 1
                raise
            self.done += 1


@contextmanager
def working(kind: Kind = "tcp", **options: Any) -> Iterator[tuple[Work, Served]]:
    work = Work()
    with serving(work.app, kind, **options) as served:
        yield work, served
        served.portal.call(work.gate.set)


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_request_does_not_wait_for_work_in_the_background(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    with working(kind) as (work, served), served.connect() as client:
        for i in range(5):
            target = b"/name/%d" % i
            assert client.get(target + b"?work").body == target
            assert client.get(b"/name/x").body == b"/name/x"
        assert (work.begun, work.done) == (5, 0)
        served.portal.call(work.gate.set)
        wait_for(lambda: work.done == 5)
        assert client.get(b"/hello").body == b"hello"
        client.close()
        wait_for(lambda: left_of(Connection) == 0)
    assert caplog.records == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_does_not_wait_for_work_in_the_background(kind: Kind) -> None:
    with working(kind) as (work, served), served.connect() as client:
        client.send(b"".join(request(b"GET", b"/name/%d?work" % i) for i in range(8)))
        for i in range(8):
            assert client.read_answer().body == b"/name/%d" % i
        wait_for(lambda: work.begun == 8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "data",
    [
        request(b"GET", b"/hello?work", b"Connection: close"),
        b"GET /hello?work HTTP/1.0\r\n\r\n",
        b"GET /stream?work HTTP/1.0\r\n\r\n",
        request(b"GET", b"/close?work"),
        request(b"POST", b"/early?work", b"Content-Length: 9", b"Connection: close"),
    ],
)
def test_a_connection_that_ends_with_its_answer_ends_before_the_work(
    kind: Kind, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with working(kind) as (work, served), served.connect() as client:
        client.send(data)
        answer = b""
        while piece := client.sock.recv(65536):
            answer += piece
        assert b" 200 OK" in answer
        assert (work.begun, work.done) == (1, 0)
        client.close()
    assert caplog.records == []


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_body_that_was_not_read_is_skipped_while_the_application_works(framing: bytes) -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n" if b"chunked" in framing else b"hello"
    with working() as (work, served), served.connect() as client:
        client.send(request(b"POST", b"/early?work", framing))
        assert client.read_answer().body == b"early"
        time.sleep(0.05)
        client.send(body + request(b"GET", b"/name/next"))
        assert client.read_answer().body == b"/name/next"
        assert work.done == 0


def test_a_client_that_leaves_does_not_end_the_work() -> None:
    with working() as (work, served):
        with served.connect() as client:
            assert client.get(b"/hello?work").body == b"hello"
            assert client.get(b"/hello").body == b"hello"
        time.sleep(0.05)
        assert (work.begun, work.done, work.cancelled) == (1, 0, 0)
        served.portal.call(work.gate.set)
        wait_for(lambda: work.done == 1 and left_of(Connection) == 0)


def test_a_request_that_fails_while_another_works_on_is_logged_and_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with working() as (_, served), served.connect() as client:
        assert client.get(b"/hello?work").body == b"hello"
        client.send(request(b"GET", b"/fail"))
        assert b" 500 " in client.read_all()
    (record,) = caplog.records
    assert record.getMessage().endswith("failed at GET /fail")


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_waits_for_work_in_the_background(kind: Kind) -> None:
    with working(kind, grace=5) as (work, served):
        with served.connect() as client:
            assert client.get(b"/hello?work").body == b"hello"
            assert client.get(b"/hello").body == b"hello"
            served.tell_to_stop()
            client.read_all()
        assert (work.done, served.summary.done()) == (0, False)
        served.portal.call(work.gate.set)
        assert served.summary.result(5).cancelled == 0
        assert work.done == 1


@pytest.mark.parametrize("target", [b"/hello", b"/hello?work"])
def test_work_beyond_the_grace_period_is_cancelled_with_its_connection(
    target: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with working(grace=0.3) as (work, served), served.connect() as client:
        assert client.get(b"/hello?work").body == b"hello"
        assert client.get(target).body == b"hello"
        served.tell_to_stop()
        assert served.summary.result(5).cancelled == 1
        assert (work.done, work.cancelled) == (0, work.begun)
    assert caplog.records == []


def test_a_websocket_after_work_in_the_background_is_served() -> None:
    from tests.asgi.test_websockets import HANDSHAKE, echo, frame

    work = Work()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (echo if scope["type"] == "websocket" else work.app)(scope, receive, send)

    with serving(app, lifespan="off") as served, served.connect() as client:
        assert client.get(b"/hello?work").body == b"hello"
        client.send(request(b"GET", b"/", *HANDSHAKE))
        client.read_until(b"\r\n\r\n")
        client.send(frame(1, b"hello"))
        assert client.read_exactly(7)[2:] == b"hello"
        client.close()
        served.portal.call(work.gate.set)
