"""An answer that is not whole never looks whole, and the application hears what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from anyio_mio.asgi import ApplicationError, ClientDisconnected, response_head
from tests.asgi import apps
from tests.asgi.served import KINDS, Served, request, serving
from tests.asgi.test_requests import wait_for


@pytest.fixture(params=KINDS, scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(apps.routes, request.param) as served:
        yield served


@pytest.mark.parametrize("path", [b"/fail", b"/nothing", b"/headless", b"/short", b"/long"])
def test_an_answer_that_did_not_begin_becomes_a_500(served: Served, path: bytes) -> None:
    answer = served.ask(request(b"GET", path))
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert answer.endswith(b"\r\nconnection: close\r\n\r\nInternal Server Error")


@pytest.mark.invariant("H2")
@pytest.mark.parametrize("path", [b"/fail_later", b"/half", b"/short_stream", b"/long_stream"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_an_answer_that_stops_midway_breaks_the_connection(
    served: Served, path: bytes, version: bytes
) -> None:
    answer = served.ask(b"GET %b HTTP/%b\r\nHost: x\r\n\r\n" % (path, version))
    if served.kind != "unix":  # a UNIX socket cannot be reset
        assert answer.endswith(b"<reset>")
    head, _, body = answer.removesuffix(b"<reset>").partition(b"\r\n\r\n")
    if b"content-length: 5" in head:
        assert len(body) < 5
    elif b"chunked" in head:
        assert not body.endswith(b"0\r\n\r\n")


def test_a_failure_is_logged_with_the_application_and_its_traceback(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.ask(request(b"GET", b"/fail?q"))
    record = caplog.records[-1]
    assert record.getMessage() == "tests.asgi.apps.routes failed at GET /fail?q"
    assert record.exc_info
    assert isinstance(record.exc_info[1], LookupError)


def test_a_failure_after_the_answer_leaves_the_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps.hello(scope, receive, send)
        raise LookupError("in the background")

    with serving(app, lifespan="off") as served, served.connect() as client:
        assert client.get().body == b"hello"
        assert client.get().body == b"hello"
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


START = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"x"}

WRONG: dict[str, tuple[list[Any], str]] = {
    "no event": (["text"], "sent 'text' which is not an event"),
    "no type": ([{"status": 200}], "sent None which is not an event"),
    "unknown type": ([{"type": "http.reply"}], "'http.reply' which is not an event of HTTP"),
    "another protocol's": ([{"type": "websocket.accept"}], "'websocket.accept' which is not an"),
    "body first": ([BODY], "'http.response.body' before 'http.response.start'"),
    "two starts": ([START, START], "'http.response.start' a second time"),
    "a start after the body": ([START, BODY, START], "'http.response.start' a second time"),
    "a body too many": ([START, BODY, BODY], "after the last piece"),
    "trailers unasked": ([START, {"type": "http.response.trailers"}], "but announced no trailers"),
    "no status": ([{"type": "http.response.start"}], "without 'status'"),
    "status of text": ([START | {"status": "200"}], "the status is '200'"),
    "status too small": ([START | {"status": 99}], "the status is 99"),
    "informational status": ([START | {"status": 101}], "the status is 101"),
    "a list for a status": ([START | {"status": [200]}], "the status is [200]"),
    "a boolean status": ([START | {"status": True}], "the status is True"),
    "headers of text": ([START | {"headers": [("a", "b")]}], "the headers are"),
    "values of text": ([START | {"headers": [(b"a", "b")]}], "the headers are"),
    "a dict of headers": ([START | {"headers": {b"a": b"b"}}], "the headers are"),
    "no headers": ([START | {"headers": 5}], "the headers are 5"),
    "triples": ([START | {"headers": [(b"a", b"b", b"c")]}], "the headers are"),
    "a name with a space": ([START | {"headers": [(b"a b", b"c")]}], "b'a b' is not a header name"),
    "a name with CRLF": ([START | {"headers": [(b"a\r\nb", b"c")]}], "is not a header name"),
    "an empty name": ([START | {"headers": [(b"", b"c")]}], "is not a header name"),
    "a value with CRLF": ([START | {"headers": [(b"a", b"b\r\nc: d")]}], "would end the head"),
    "a value with LF": ([START | {"headers": [(b"a", b"b\nc: d")]}], "would end the head"),
    "a value with NUL": ([START | {"headers": [(b"a", b"\0")]}], "would end the head"),
    "a length of letters": (
        [START | {"headers": [(b"content-length", b"x")]}], "content-length is b'x'"
    ),
    "a negative length": (
        [START | {"headers": [(b"content-length", b"-1")]}], "content-length is b'-1'"
    ),
    "two lengths": (
        [START | {"headers": [(b"content-length", b"1"), (b"Content-Length", b"2")]}],
        "content-length is b'2' after 1",
    ),
    "a body of text": ([START, BODY | {"body": "x"}], "sent 'http.response.body' with body='x'"),
    "no body": ([START, BODY | {"body": None}], "'http.response.body' with body=None"),
    "a body behind the last piece": (
        [START, BODY | {"more_body": True}, BODY, BODY], "'http.response.body' after the last piece"
    ),
    "a path that is none": (
        [START, {"type": "http.response.pathsend", "path": 5}], "pathsend': the path is 5"
    ),
    "a folder": (
        [START, {"type": "http.response.pathsend", "path": "/"}], "pathsend': it names something"
    ),
    "a file that is none": (
        [START, {"type": "http.response.zerocopysend", "file": "x"}], "send': the file is 'x'"
    ),
    "a file first": (
        [{"type": "http.response.pathsend", "path": "/"}], "pathsend' before 'http.response.start'"
    ),
    "too short": (
        [START | {"headers": [(b"content-length", b"2")]}, BODY],
        "a body of 1 bytes in 'http.response.body', its content-length says 2",
    ),
}  # fmt: skip


NO_EVENTS = ("no event", "no type", "another protocol's")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_event_raises_an_error_that_names_it(name: str) -> None:
    events, text = WRONG[name]
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            for event in events:
                await send(event)
        except ApplicationError as error:
            errors.append(str(error))

    with serving(app, lifespan="off") as served:
        answer = served.ask(request(b"GET", b"/", b"Connection: close"))
        assert answer.startswith(b"HTTP/1.1 200" if len(events) >= 3 else b"HTTP/1.1 500"), answer
    assert len(errors) == 1
    assert text in errors[0]
    assert "app sent " in errors[0]
    assert "'http" in errors[0] or name in NO_EVENTS
    assert "\n  right: " in errors[0]


def test_headers_may_be_lists_tuples_or_made_on_the_way() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = ([b"x-%d" % i, bytearray(b"y")] for i in range(3))
        await send({"type": "http.response.start", "status": 299, "headers": fields})
        await send({"type": "http.response.body", "body": memoryview(b"view")})

    with serving(app, lifespan="off") as served, served.connect() as client:
        answer = client.get()
    assert (answer.status, answer.body, answer[b"x-2"]) == (299, b"view", b"y")


def test_send_and_receive_are_of_no_use_after_the_answer() -> None:
    kept: list[Any] = []
    errors: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if kept:
            old_receive, old_send = kept[0]
            assert (await old_receive())["type"] == "http.disconnect"
            for event in (START, BODY):
                with pytest.raises(ApplicationError) as caught:
                    await old_send(event)
                errors.append(caught.value)
        kept.append((receive, send))
        await apps.name(scope, receive, send)

    with serving(app, lifespan="off") as served, served.connect() as client:
        assert client.get(b"/first").body == b"/first"
        assert client.get(b"/second").body == b"/second"
    assert len(errors) == 2


def test_a_receive_that_still_waits_ends_with_the_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            group.start_soon(receive)
            await anyio.sleep(0.02)
            await apps.name(scope, receive, send)

    with serving(app, lifespan="off") as served, served.connect() as client:
        for i in range(3):
            assert client.get(b"/%d" % i).body == b"/%d" % i


def test_send_raises_an_oserror_when_the_client_is_gone() -> None:
    errors: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps.start(send)
        try:
            while True:
                await apps.say(send, b"x" * 65536, more=True)
        except OSError as error:
            errors.append(error)
            raise

    with serving(app, lifespan="off") as served:
        with served.connect() as client:
            client.send(request(b"GET", b"/"))
            client.read_until(b"\r\n\r\n")
        wait_for(lambda: errors)
    assert isinstance(errors[0], ClientDisconnected)


def test_a_hang_up_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with serving(apps.routes, lifespan="off") as served:
        with served.connect() as client:
            client.send(request(b"GET", b"/big/10000"))
            client.read_until(b"\r\n\r\n")
        with served.connect() as client:
            assert client.get(b"/hello").status == 200
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_write_that_was_cancelled_breaks_the_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps.start(send)
        with anyio.move_on_after(0.1):
            while True:
                await apps.say(send, b"x" * 65536, more=True)
        with pytest.raises(ClientDisconnected):
            await apps.say(send, b"more")

    with serving(app, lifespan="off") as served, served.connect() as client:
        client.send(request(b"GET", b"/"))
        client.read_until(b"\r\n\r\n")
        assert not client.read_all().endswith(b"0\r\n\r\n")


def test_trailers_are_sent_where_the_client_takes_them() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        takes = "http.response.trailers" in scope["extensions"]
        fields = [(b"content-length", b"4"), (b"trailer", b"x-sum")]
        await send(START | {"headers": fields, "trailers": takes})
        await apps.say(send, b"body")
        if takes:
            kind = "http.response.trailers"
            await send({"type": kind, "headers": [(b"x-sum", b"1")], "more_trailers": True})
            await send({"type": kind, "headers": [(b"x-more", b"2")]})

    with serving(app, lifespan="off") as served, served.connect() as client:
        answer = client.get(b"/", b"TE: trailers")
        assert (answer.body, answer.trailers) == (b"body", [(b"x-sum", b"1"), (b"x-more", b"2")])
        answer = client.get(b"/")
        assert (answer.body, answer.trailers) == (b"body", [])
        assert answer[b"content-length"] == b"4"


def test_fields_without_end_do_not_fill_the_table_of_lines() -> None:
    for number in range(2 * response_head.MOST_NAMES):
        fields = [(b"x-made-up-%d" % number, b"1"), (b"x-table-test", b"%d" % number)]
        head = response_head.join_head(200, fields, [])
        assert head == b"HTTP/1.1 200 OK\r\nx-made-up-%d: 1\r\nx-table-test: %d" % (number, number)

    assert len(response_head.LINES) <= response_head.MOST_NAMES
    assert max(map(len, response_head.LINES.values())) <= response_head.MOST_VALUES
    response_head.LINES.clear()


def test_what_a_value_may_be_does_not_depend_on_the_fields_before() -> None:
    head = response_head.join_head(200, [(b"x-known", b"1")], [])

    for value in (bytearray(b"1"), memoryview(b"1")):
        assert response_head.join_head(200, [(b"x-known", value)], []) == head
    for wrong in ("1", 1, None):
        with pytest.raises(ApplicationError, match="pairs of str"):
            response_head.join_head(200, [(b"x-known", wrong)], [])


@pytest.mark.parametrize("size", [65_536, 65_537, 262_145, 700_000])
def test_a_large_body_arrives_whole(served: Served, size: int) -> None:
    with served.connect() as client:
        answer = client.get(b"/sized/%d" % size)

    assert (len(answer.body), answer[b"content-length"]) == (size, b"%d" % size)
