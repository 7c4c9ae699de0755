"""What the server makes of requests that are right."""

from __future__ import annotations

import ast
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.asgi import apps
from tests.asgi.served import KINDS, Served, request, serving


@pytest.fixture(params=KINDS, scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(apps.routes, request.param) as served:
        yield served


def scope_of(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = ast.literal_eval(body.decode())
    return found


def test_a_connection_serves_many_requests(served: Served) -> None:
    with served.connect() as client:
        for _ in range(3):
            answer = client.get(b"/hello")
            assert (answer.status, answer.body) == (200, b"hello")
            assert answer[b"connection"] is None


def test_http_1_0_ends_the_connection(served: Served) -> None:
    answer = served.ask(b"GET /hello HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello")


def test_http_1_0_with_keep_alive_goes_on(served: Served) -> None:
    ask = b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with served.connect() as client:
        for _ in range(2):
            client.send(ask)
            answer = client.read_answer()
            assert answer[b"connection"] == b"keep-alive"
            assert answer.body == b"hello"


def test_connection_close_of_the_client_ends_it(served: Served) -> None:
    answer = served.ask(request(b"GET", b"/hello", b"Connection: close"))
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"hello")


def test_connection_close_of_the_application_ends_it(served: Served) -> None:
    answer = served.ask(request(b"GET", b"/close"))
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"last")


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    with served.connect() as client:
        client.send(b"".join(request(b"GET", b"/name/%d" % i) for i in range(50)))
        for i in range(50):
            assert client.read_answer().body == b"/name/%d" % i


def test_a_pipeline_longer_than_a_piece_is_answered_in_order(served: Served) -> None:
    with served.connect() as client:
        client.send(b"".join(request(b"GET", b"/name/%d" % i) for i in range(1500)))
        for i in range(1500):
            assert client.read_answer().body == b"/name/%d" % i


def test_pipelined_bodies_stay_with_their_requests(served: Served) -> None:
    bodies = [b"x" * i for i in range(0, 3000, 100)]
    with served.connect() as client:
        client.send(
            b"".join(
                request(b"POST", b"/echo", b"Content-Length: %d" % len(body), body=body)
                for body in bodies
            )
        )
        for body in bodies:
            assert client.read_answer().body == body


def test_head_gets_the_head_alone(served: Served) -> None:
    with served.connect() as client:
        client.send(request(b"HEAD", b"/hello"))
        answer = client.read_answer(b"HEAD")
        assert (answer[b"content-length"], answer.body) == (b"5", b"")
        assert client.get(b"/hello").body == b"hello"


def test_a_body_by_length_reaches_the_application(served: Served) -> None:
    with served.connect() as client:
        client.send(request(b"POST", b"/echo", b"Content-Length: 5", body=b"hello"))
        assert client.read_answer().body == b"hello"


def test_a_large_body_reaches_the_application(served: Served) -> None:
    body = bytes(range(256)) * 2048
    with served.connect() as client:
        client.send(request(b"POST", b"/echo", b"Content-Length: %d" % len(body), body=body))
        assert client.read_answer().body == body


def test_a_chunked_body_reaches_the_application(served: Served) -> None:
    body = b"5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: ignored\r\nHost: evil\r\n\r\n"
    with served.connect() as client:
        client.send(request(b"POST", b"/echo", b"Transfer-Encoding: chunked", body=body))
        assert client.read_answer().body == b"hello world"
        assert b"evil" not in client.get(b"/show").body


def test_a_request_may_come_byte_by_byte(served: Served) -> None:
    with served.connect() as client:
        for byte in request(b"POST", b"/echo", b"Content-Length: 3", body=b"abc"):
            client.send(bytes([byte]))
        assert client.read_answer().body == b"abc"


def test_100_continue_is_sent_when_the_application_reads(served: Served) -> None:
    head = request(b"POST", b"/echo", b"Content-Length: 5", b"Expect: 100-continue")
    with served.connect() as client:
        client.send(head)
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        assert client.read_answer().body == b"hello"
        assert client.get(b"/hello").body == b"hello"


def test_100_continue_is_not_sent_unless_the_application_reads(served: Served) -> None:
    head = request(b"POST", b"/early", b"Content-Length: 5", b"Expect: 100-continue")
    answer = served.ask(head)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"early")


def test_an_unread_body_is_not_taken_for_a_request(served: Served) -> None:
    body = request(b"GET", b"/fail")
    with served.connect() as client:
        client.send(request(b"POST", b"/early", b"Content-Length: %d" % len(body), body=body))
        assert client.read_answer().body == b"early"
        assert client.get(b"/name/next").body == b"/name/next"


def test_an_unread_body_that_comes_late_is_not_taken_for_a_request(served: Served) -> None:
    body = request(b"GET", b"/fail")
    with served.connect() as client:
        client.send(request(b"POST", b"/early", b"Content-Length: %d" % len(body)))
        assert client.read_answer().body == b"early"
        client.send(body + request(b"GET", b"/name/next"))
        assert client.read_answer().body == b"/name/next"


def test_an_unread_body_that_is_too_long_ends_the_connection(served: Served) -> None:
    with served.connect() as client:
        client.send(request(b"POST", b"/early", b"Content-Length: 99999999"))
        assert client.read_answer().body == b"early"
        with pytest.raises((ConnectionError, ssl.SSLError)):
            client.send(b"x" * 65536 * 1200)


def test_an_absolute_target_is_split_and_its_host_counts(served: Served) -> None:
    with served.connect() as client:
        scope = scope_of(client.get(b"http://other:81/show?a=b").body)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/show", b"/show", b"a=b")
    assert scope["headers"] == [(b"host", b"other:81")]


def test_options_may_ask_for_the_whole_server() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await apps.hello(scope, receive, send)

    with serving(app) as served, served.connect() as client:
        client.send(request(b"OPTIONS", b"*"))
        assert client.read_answer().status == 200
    assert seen == ["*"]


@pytest.mark.parametrize(
    "field, raw, body",
    [
        (b"X: y", b"", b""),
        (b"Content-Length: 4", b"body", b"body"),
        (b"Transfer-Encoding: chunked", b"4\r\nbody\r\n0\r\n\r\n", b"body"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_an_upgrade_to_h2c_is_ignored(
    served: Served, field: bytes, raw: bytes, body: bytes, at_once: bool
) -> None:
    upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA")
    data = request(b"POST", b"/echo", *upgrade, field, body=raw) + request(b"GET", b"/name/next")
    with served.connect() as client:
        for piece in [data] if at_once else [data[i : i + 1] for i in range(len(data))]:
            client.send(piece)
        assert client.read_answer().body == body
        assert client.read_answer().body == b"/name/next"


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_has_none(served: Served, status: int) -> None:
    with served.connect() as client:
        answer = client.get(b"/empty/%d" % status)
        assert (answer.status, answer.body) == (status, b"")
        assert answer[b"transfer-encoding"] is None
        assert answer[b"content-length"] == {204: None, 205: b"0", 304: b"4"}[status]
        assert client.get(b"/hello").body == b"hello"


def test_a_stream_without_a_length_is_chunked(served: Served) -> None:
    with served.connect() as client:
        client.send(request(b"GET", b"/stream"))
        head = client.read_until(b"\r\n\r\n")
        assert b"\r\ntransfer-encoding: chunked\r\n" in head
        expected = b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"
        assert client.read_exactly(len(expected)) == expected
        assert client.get(b"/hello").body == b"hello"


def test_a_stream_to_http_1_0_ends_with_the_connection(served: Served) -> None:
    answer = served.ask(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"\r\nconnection: close" in head
    assert body == b"onetwothree"


def test_the_scope_has_all_that_the_specification_asks_for(served: Served) -> None:
    with served.connect() as client:
        answer = client.get(
            b"/show/%C3%A4%2Fb?x=%20&y", b"X-One: 1", b"x-one:  2 \t", b"ACCEPT: \xe4"
        )
    scope = scope_of(answer.body)
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert (scope["http_version"], scope["method"]) == ("1.1", "GET")
    assert scope["scheme"] == ("https" if served.kind == "tls" else "http")
    assert (scope["path"], scope["raw_path"]) == ("/show/ä/b", b"/show/%C3%A4%2Fb")
    assert (scope["query_string"], scope["root_path"]) == (b"x=%20&y", "")
    assert scope["headers"] == [
        (b"host", b"test"), (b"x-one", b"1"), (b"x-one", b"2"), (b"accept", b"\xe4")
    ]  # fmt: skip
    if served.kind == "unix":
        assert (scope["client"], scope["server"]) == (None, (str(served.address), None))
    else:
        assert scope["server"] == served.address
        assert scope["client"][0] == "127.0.0.1"
    assert scope["state"] == {}


def test_each_request_has_a_copy_of_the_state_of_lifespan() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["shared"] = [1]
            await apps.lifespan(receive, send)
            return
        await apps.start(send)
        await apps.say(send, repr(scope["state"]).encode())
        scope["state"]["own"] = True
        scope["state"]["shared"].append(2)

    with serving(app) as served, served.connect() as client:
        assert client.get().body == b"{'shared': [1]}"
        assert client.get().body == b"{'shared': [1, 2]}"


def test_the_application_learns_of_a_hang_up() -> None:
    events: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        for _ in range(3):
            message = await receive()
            events.append(message["type"])

    with serving(app) as served:
        with served.connect() as client:
            client.send(request(b"GET", b"/"))
            time.sleep(0.05)
            assert events == ["http.request"]
        wait_for(lambda: len(events) == 3)
    assert events == ["http.request", "http.disconnect", "http.disconnect"]


def test_an_answer_still_reaches_a_client_that_closed_its_sending_side(served: Served) -> None:
    if served.kind == "tls":
        pytest.skip("TLS has no half-closed connections here")
    with served.connect() as client:
        client.send(request(b"POST", b"/echo", b"Content-Length: 2", body=b"ok"))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.read_answer().body == b"ok"


def test_the_root_path_is_the_beginning_of_the_path() -> None:
    with serving(apps.routes, root_path="/show") as served, served.connect() as client:
        scope = scope_of(client.get(b"/deep").body)
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (
        "/show/deep", b"/show/deep", "/show"
    )  # fmt: skip


def test_an_answer_has_date_and_server_unless_the_application_sends_them() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"Date", b"today"), (b"server", b"mine")] if scope["path"] == "/own" else []
        await apps.start(send, *fields)
        await apps.say(send, b"")

    options: Any = {"lifespan": "off", "headers": [("x-more", "1")]}
    with serving(app, **options) as served, served.connect() as client:
        answer = client.get(b"/")
        assert answer[b"date"] is not None
        assert answer[b"date"].endswith(b" GMT")
        assert (answer[b"server"], answer[b"x-more"]) == (b"anyio-mio", b"1")
        names = sorted(name for name, _ in client.get(b"/own").headers)
        assert names == [b"content-length", b"date", b"server", b"x-more"]


def test_date_and_server_can_be_left_out() -> None:
    options: Any = {"date_header": False, "server_header": False}
    with serving(apps.routes, **options) as served, served.connect() as client:
        names = [name for name, _ in client.get(b"/name").headers]
    assert names == [b"content-length"]


def wait_for(condition: Any, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
