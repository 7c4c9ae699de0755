"""What the server refuses: malformed and ambiguous requests, and those without end."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.asgi import apps
from tests.asgi.served import KINDS, Served, request, serving

HOST = b"Host: test\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(*fields: bytes) -> bytes:
    return request(b"POST", b"/echo", *fields, body=b"hello")


MALFORMED: dict[str, tuple[int, bytes]] = {
    # The request line.
    "garbage": (400, b"\x00\x01\x02garbage\r\n\r\n"),
    "TLS to a plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "no version": (505, b"GET /hello\r\n\r\n"),
    "version 0.9": (505, b"GET /hello HTTP/0.9\r\n\r\n"),
    "version 1.2": (505, b"GET /hello HTTP/1.2\r\n" + HOST + b"\r\n"),
    "version 2.0": (505, b"GET /hello HTTP/2.0\r\n" + HOST + b"\r\n"),
    "version 3.9": (505, b"GET /hello HTTP/3.9\r\n" + HOST + b"\r\n"),
    "version of letters": (400, b"GET /hello HTTP/a.b\r\n" + HOST + b"\r\n"),
    "small letters in the version": (400, b"GET /hello http/1.1\r\n" + HOST + b"\r\n"),
    "method in small letters": (400, b"get /hello HTTP/1.1\r\n" + HOST + b"\r\n"),
    "unknown method": (501, b"BREW /hello HTTP/1.1\r\n" + HOST + b"\r\n"),
    "CONNECT": (501, b"CONNECT test:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "RTSP": (501, b"DESCRIBE rtsp://test/ RTSP/1.0\r\n\r\n"),
    "space in the target": (400, b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "NUL in the target": (400, b"GET /a\x00b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "8 bits in the target": (400, b"GET /\xe4 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "fragment in the target": (400, request(b"GET", b"/hello#fragment")),
    "target without a slash": (400, request(b"GET", b"hello")),
    "asterisk with GET": (400, request(b"GET", b"*")),
    "target of another scheme": (400, request(b"GET", b"ftp://test/hello")),
    "user in the target": (400, request(b"GET", b"http://user@test/hello")),
    "tabs in the request line": (400, b"GET\t/hello\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    "space before the method": (400, b" " + request(b"GET", b"/hello")),
    "space behind the version": (400, b"GET /hello HTTP/1.1 \r\n" + HOST + b"\r\n"),
    "version 1.10": (400, b"GET /hello HTTP/1.10\r\n" + HOST + b"\r\n"),
    "CR alone behind the request line": (400, b"GET /hello HTTP/1.1\r" + HOST + b"\r\n"),
    "whole URL with two hosts": (400, request(b"GET", b"http://a,b/hello")),
    "whole URL with an escape in its host": (400, request(b"GET", b"http://a%00b/hello")),
    "whole URL without a host": (400, request(b"GET", b"http:///hello")),
    "whole URL without the field Host": (400, b"GET http://test/hello HTTP/1.1\r\n\r\n"),
    "bare LF behind the request line": (400, b"GET /hello HTTP/1.1\n" + HOST + b"\r\n"),
    # Fields.
    "no host": (400, b"GET /hello HTTP/1.1\r\n\r\n"),
    "two hosts": (400, request(b"GET", b"/hello", b"Host: other")),
    "the same host twice": (400, request(b"GET", b"/hello", b"Host: test")),
    "host with a port of letters": (400, b"GET /hello HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    "two hosts in one": (400, b"GET /hello HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    "host with a path": (400, b"GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "host with a user": (400, b"GET /hello HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "space before the colon": (400, request(b"GET", b"/hello", b"X : y")),
    "space in a name": (400, request(b"GET", b"/hello", b"X Y: z")),
    "no name": (400, request(b"GET", b"/hello", b": z")),
    "no colon": (400, request(b"GET", b"/hello", b"X")),
    "bad name": (400, request(b"GET", b"/hello", b"X(y): z")),
    "NUL in a name": (400, request(b"GET", b"/hello", b"X\0: z")),
    "NUL in a value": (400, request(b"GET", b"/hello", b"X: y\0z")),
    "CR in a value": (400, request(b"GET", b"/hello", b"X: y\rz")),
    "control character in a value": (400, request(b"GET", b"/hello", b"X: y\x01z")),
    "DEL in a value": (400, request(b"GET", b"/hello", b"X: y\x7fz")),
    "DEL in a name": (400, request(b"GET", b"/hello", b"X\x7f: y")),
    "two CR behind a field": (400, request(b"GET", b"/hello", b"X: y\r")),
    "bare LF behind the fields": (400, b"GET /hello HTTP/1.1\r\n" + HOST + b"\n"),
    "folded line": (400, request(b"GET", b"/hello", b"X: y\r\n z")),
    "space before the first field": (400, b"GET /hello HTTP/1.1\r\n Host: test\r\n\r\n"),
    "bare LF behind a field": (400, request(b"GET", b"/hello", b"X: y\nZ: z")),
    # Lengths.
    "two lengths": (400, post(b"Content-Length: 5", b"Content-Length: 6")),
    "the same length twice": (400, post(b"Content-Length: 5", b"Content-Length: 5")),
    "list of lengths": (400, post(b"Content-Length: 5, 5")),
    "plus sign": (400, post(b"Content-Length: +5")),
    "minus sign": (400, post(b"Content-Length: -5")),
    "hexadecimal length": (400, post(b"Content-Length: 0x5")),
    "length with a fraction": (400, post(b"Content-Length: 5.0")),
    "length of letters": (400, post(b"Content-Length: five")),
    "empty length": (400, post(b"Content-Length: ")),
    "length beyond 64 bits": (400, post(b"Content-Length: 99999999999999999999999")),
    # Codings.
    "length with chunked": (400, post(b"Content-Length: 5", b"Transfer-Encoding: chunked")),
    "chunked with length": (400, post(b"Transfer-Encoding: chunked", b"Content-Length: 5")),
    "empty length with chunked": (400, post(b"Content-Length:", b"Transfer-Encoding: chunked")),
    "two lengths with a space": (400, post(b"Content-Length: 5 5")),
    "chunked, identity": (400, post(b"Transfer-Encoding: chunked, identity")),
    "chunked with a comma behind": (400, post(b"Transfer-Encoding: chunked,")),
    "chunked with a comma before": (501, post(b"Transfer-Encoding: ,chunked")),
    "chunked in quotes": (501, post(b'Transfer-Encoding: "chunked"')),
    "chunked with a parameter": (501, post(b"Transfer-Encoding: chunked;q=1")),
    "chunked twice": (400, post(b"Transfer-Encoding: chunked, chunked")),
    "chunked in two fields": (400, post(*[b"Transfer-Encoding: chunked"] * 2)),
    "chunked is not last": (400, post(b"Transfer-Encoding: chunked, gzip")),
    "another coding": (501, post(b"Transfer-Encoding: gzip")),
    "a coding before chunked": (501, post(b"Transfer-Encoding: gzip, chunked")),
    "identity": (501, post(b"Transfer-Encoding: identity")),
    "nearly chunked": (501, post(b"Transfer-Encoding: xchunked")),
    "chunked behind a vertical tab": (400, post(b"Transfer-Encoding: \x0bchunked")),
    "empty coding": (400, post(b"Transfer-Encoding: ")),
    "chunked in HTTP/1.0": (
        400, b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    # Chunks.
    "chunk size of letters": (400, CHUNKED + b"xyz\r\nhello\r\n0\r\n\r\n"),
    "chunk size with a sign": (400, CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with 0x": (400, CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size beyond 64 bits": (400, CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "no chunk size": (400, CHUNKED + b"\r\nhello\r\n0\r\n\r\n"),
    "space behind a chunk size": (400, CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n"),
    "bare LF behind a chunk size": (400, CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    "bare LF behind a chunk": (400, CHUNKED + b"5\r\nhello\n0\r\n\r\n"),
    "chunk longer than its size": (400, CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n"),
    "space before a chunk size": (400, CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n"),
    "underscore in a chunk size": (400, CHUNKED + b"0_5\r\nhello\r\n0\r\n\r\n"),
    "negative chunk size": (400, CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n"),
    "NUL in a chunk extension": (400, CHUNKED + b"5;a\0\r\nhello\r\n0\r\n\r\n"),
    "CR in a chunk extension": (400, CHUNKED + b"5;\ra\r\nhello\r\n0\r\n\r\n"),
    "line end in a quoted chunk extension": (400, CHUNKED + b'5;a="\r\nhello\r\n0\r\n\r\n'),
    "last chunk without its line end": (400, CHUNKED + b"0\r\n" + request(b"GET", b"/hello")),
    "trailer with a space before its colon": (400, CHUNKED + b"0\r\nX : y\r\n\r\n"),
    "folded trailer": (400, CHUNKED + b"0\r\nX: y\r\n z\r\n\r\n"),
    "trailer that frames a body": (
        400, CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
    ),
    "bare LF in a chunk extension": (400, CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
}  # fmt: skip


@pytest.fixture(params=KINDS, scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    options = {"head_timeout": 0.4, "body_timeout": 0.4, "keep_alive": 0.4, "send_timeout": 0.4}
    with serving(apps.routes, request.param, **options) as served:
        yield served


def status_of(answer: bytes) -> int:
    """The status of the only answer; a reset behind it is what a late sender may meet."""
    match = re.fullmatch(
        rb"HTTP/1\.1 (\d{3}) [^\r]+\r\n.*\r\nconnection: close\r\n\r\n[A-Za-z ]*(<reset>)?",
        answer, re.DOTALL,
    )  # fmt: skip
    assert match, answer
    assert answer.count(b"HTTP/1.1 ") == 1
    return int(match[1])


@pytest.mark.invariant("H2")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_and_the_server_serves_on(served: Served, name: str) -> None:
    status, data = MALFORMED[name]
    assert status_of(served.ask(data)) == status
    with served.connect() as client:
        assert client.get(b"/hello").body == b"hello"


@pytest.mark.parametrize("name", ["garbage", "two lengths", "folded line", "chunked with length"])
def test_what_comes_before_a_malformed_request_is_answered(served: Served, name: str) -> None:
    status, data = MALFORMED[name]
    with served.connect() as client:
        client.send(request(b"GET", b"/name/first") + data)
        assert client.read_answer().body == b"/name/first"
        assert status_of(client.read_all()) == status


@pytest.mark.parametrize("name", ["version 2.0", "CONNECT", "two hosts", "another coding"])
def test_what_comes_behind_an_upgrade_is_refused_as_anywhere(
    served: Served, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, data = MALFORMED[name]
    upgrade = request(b"GET", b"/name/first", b"Connection: Upgrade", b"Upgrade: h2c")
    with served.connect() as client:
        client.send(upgrade + data)
        assert client.read_answer().body == b"/name/first"
        assert status_of(client.read_all()) == status
    assert caplog.records == []


def test_what_an_application_receives_within_an_except_block_is_refused_as_anywhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            raise LookupError("of the application")
        except LookupError:
            await apps.echo(scope, receive, send)

    options: Any = {"lifespan": "off", "max_body_size": 10}
    with serving(app, **options) as served, served.connect() as client:
        client.send(request(b"POST", b"/", b"Transfer-Encoding: chunked"))
        time.sleep(0.05)
        client.send(b"20\r\n" + b"x" * 32)
        assert status_of(client.read_all()) == 413
    assert caplog.records == []


@pytest.mark.parametrize("target", [b"/fail", b"/fail_later", b"/short", b"/long_stream", b"/half"])
def test_nothing_behind_an_answer_that_failed_is_answered(served: Served, target: bytes) -> None:
    first, last = request(b"GET", b"/name/first"), request(b"GET", b"/name/behind")
    with served.connect() as client:
        client.send(first + request(b"GET", target) + last)
        assert client.read_answer().body == b"/name/first"
        assert b"/name/behind" not in client.read_all()


def test_a_request_within_a_refused_one_is_not_answered(served: Served) -> None:
    inner = request(b"GET", b"/name/smuggled")
    data = request(
        b"POST", b"/echo", b"Content-Length: %d" % len(inner), b"Transfer-Encoding: chunked",
        body=b"0\r\n\r\n" + inner,
    )  # fmt: skip
    assert b"smuggled" not in served.ask(data)


def test_a_head_without_end_is_refused(served: Served) -> None:
    with served.connect() as client:
        client.send(b"GET /hello HTTP/1.1\r\nHost: test\r\nX: ")
        try:
            for _ in range(100):
                client.send(b"y" * 4096)
        except OSError:
            pass
        assert b" 431 " in client.read_all()


def test_a_target_without_end_is_refused(served: Served) -> None:
    assert status_of(served.ask(b"GET /" + b"a" * 70000)) == 431


def test_blank_lines_without_end_are_refused(served: Served) -> None:
    assert status_of(served.ask(b"\r\n" * 40000)) == 431


def test_a_head_with_too_many_fields_is_refused(served: Served) -> None:
    fields = [b"X-%d: y" % i for i in range(200)]
    assert status_of(served.ask(request(b"GET", b"/hello", *fields))) == 431


def test_a_head_above_a_small_limit_is_refused_and_one_below_is_not() -> None:
    with serving(apps.routes, max_head_size=300) as served, served.connect() as client:
        assert client.get(b"/hello", b"X: " + b"y" * 200).body == b"hello"
        client.send(request(b"GET", b"/hello", b"X: " + b"y" * 300))
        assert status_of(client.read_all()) == 431


def test_many_small_heads_in_one_piece_are_no_large_head() -> None:
    with serving(apps.routes, max_head_size=300) as served, served.connect() as client:
        client.send(request(b"GET", b"/hello") * 20)
        for _ in range(20):
            assert client.read_answer().body == b"hello"


def test_a_chunk_extension_without_end_is_refused(served: Served) -> None:
    assert status_of(served.ask(CHUNKED + b"5;" + b"a" * 100000)) == 400


def test_trailers_without_end_are_refused(served: Served) -> None:
    assert status_of(served.ask(CHUNKED + b"0\r\n" + b"X: y\r\n" * 20000)) == 400


@pytest.mark.parametrize(
    "data",
    [
        request(b"POST", b"/echo", b"Content-Length: 11", body=b"hello world"),
        request(b"POST", b"/echo", b"Content-Length: 11", body=b"hello"),
        request(
            b"POST", b"/echo", b"Transfer-Encoding: chunked", body=b"6\r\nhello \r\n5\r\nworld\r\n"
        ),
    ],
)
def test_a_body_above_the_limit_is_refused(data: bytes) -> None:
    with serving(apps.routes, max_body_size=10) as served:
        assert status_of(served.ask(data)) == 413


def test_a_body_at_the_limit_is_served() -> None:
    with serving(apps.routes, max_body_size=5) as served, served.connect() as client:
        client.send(post(b"Content-Length: 5"))
        assert client.read_answer().body == b"hello"


@pytest.mark.invariant("H2")
def test_a_head_that_never_ends_is_timed_out(served: Served) -> None:
    with served.connect() as client:
        client.send(b"GET /hello HTTP/1.1\r\n")
        answer = b""
        for _ in range(20):  # a byte now and then does not help
            time.sleep(0.1)
            try:
                client.send(b"X")
            except OSError:
                break
        answer = client.read_all()
    assert b" 408 " in answer or answer == b"<reset>"


def test_a_silent_client_is_hung_up_on(served: Served) -> None:
    began = time.monotonic()
    assert served.ask(b"") == b""
    assert time.monotonic() - began >= 0.4


def test_a_silent_client_is_hung_up_on_after_its_request(served: Served) -> None:
    with served.connect() as client:
        began = time.monotonic()
        client.get(b"/hello")
        assert client.read_all() == b""
        assert time.monotonic() - began >= 0.4


def test_a_body_that_stops_is_timed_out(served: Served) -> None:
    with served.connect() as client:
        client.send(request(b"POST", b"/echo", b"Content-Length: 5", body=b"he"))
        client.read_all()


def test_a_slow_body_that_goes_on_is_not_timed_out(served: Served) -> None:
    with served.connect() as client:
        client.send(request(b"POST", b"/echo", b"Content-Length: 8"))
        for byte in b"slowbody":
            time.sleep(0.1)
            client.send(bytes([byte]))
        assert client.read_answer().body == b"slowbody"


@pytest.mark.invariant("H2")
def test_a_client_that_reads_nothing_is_timed_out(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with served.connect() as client:
        client.send(request(b"GET", b"/big/1000"))
        time.sleep(1.5)
        received = client.read_all()
    assert len(received) < 65536 * 1000
    assert b"0\r\n\r\n" not in received[-5:]
    assert caplog.records == []


@pytest.mark.parametrize("whole", [True, False])
def test_a_connection_that_ends_within_a_request_is_no_error(
    served: Served, whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    data = request(b"POST", b"/early", b"Content-Length: 5", body=b"hello")
    for size in range(0, len(data), 7):
        with served.connect() as client:
            client.send(data[:size])
    with served.connect() as client:
        assert client.get(b"/hello").body == b"hello"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
