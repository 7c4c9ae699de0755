"""The options of `serve()`: checked before the application starts."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

import anyio_mio
import anyio_mio.asgi
from anyio_mio.asgi.options import HTTPOptions, Options, Settings, split
from anyio_mio.asgi.site import requests_until_stop
from anyio_mio.serving import ServeOptions
from tests.asgi import apps
from tests.asgi.served import request, serving

RIGHT = "\n  right: "


def refusal_of(**options: Any) -> str:
    """What `run()` says of options that it does not take; it must not start the application."""
    started: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        started.append(scope)

    with pytest.raises((TypeError, ValueError)) as caught:
        anyio_mio.asgi.run(app, **options)
    assert started == []
    return str(caught.value)


@pytest.mark.parametrize(
    "option, value, text",
    [
        ("keep_alive", 0, "keep_alive is 0, not a number of seconds above 0"),
        ("keep_alive", "5", "keep_alive is '5', not a number of seconds"),
        ("head_timeout", -1, "head_timeout is -1"),
        ("send_timeout", float("inf"), "send_timeout is inf"),
        ("body_timeout", None, "body_timeout is None"),
        ("ws_ping_interval", 0, "ws_ping_interval is 0, not seconds above 0, or None"),
        ("max_head_size", 0, "max_head_size is 0, not 1 or more"),
        ("max_head_size", 1.5, "max_head_size is 1.5"),
        ("limit_concurrency", 0, "limit_concurrency is 0"),
        ("max_requests", "100", "max_requests is '100'"),
        ("max_requests_jitter", -1, "max_requests_jitter is -1"),
        ("date_header", "no", "date_header is 'no', not True or False"),
        ("proxy_protocol", None, "proxy_protocol is None, not True or False"),
        ("root_path", b"/api", "root_path is b'/api', not text"),
        ("lifespan", "maybe", "lifespan is 'maybe', not auto, on or off"),
        ("access_log", "xml", "access_log is 'xml'"),
        ("trusted", "127.0.0.1", "trusted is a list"),
        ("trusted", ["localhost"], "'localhost' is not an address"),
        ("headers", [("a", "b\r\nc")], "more than one line"),
        # Those of every server.
        ("grace", -1, "grace must be zero or more"),
        ("queued", "drop", "queued must be 'serve' or 'refuse'"),
        ("handler_errors", "ignore", "handler_errors must be 'log' or 'raise'"),
        ("shed", 1, "shed must be True or False"),
        ("max_connections", 0, "max_connections must be at least 1"),
        ("signals", 15, "signals must be a tuple"),
        ("stop", "event", "stop must be an anyio.Event"),
        ("ssl_context", "cert.pem", "ssl_context must be an ssl.SSLContext"),
    ],
)
def test_a_wrong_value_is_refused_with_the_right_line(option: str, value: Any, text: str) -> None:
    said = refusal_of(port=0, **{option: value})
    assert text in said
    assert RIGHT in said


def test_an_unknown_option_is_refused_with_the_nearest_one() -> None:
    assert refusal_of(keepalive=5) == "there is no option 'keepalive'; did you mean 'keep_alive'?"
    assert "did you mean 'queued'" in refusal_of(queue="serve")
    assert "there are: " in refusal_of(wörter=1)


@pytest.mark.parametrize(
    "options",
    [
        {"unix": "/run/app", "port": 80},
        {"listeners": [], "host": "127.0.0.1"},
        {"listeners": [], "unix": "/run/app"},
        {"unix_mode": 0o600},
    ],
)
def test_two_ways_to_say_where_to_listen_are_refused(options: Any) -> None:
    said = refusal_of(**options)
    assert "exclude each other" in said
    assert RIGHT in said


def test_what_is_none_says_nothing_about_where_to_listen() -> None:
    _, place, rest = split({"unix": None, "listeners": None, "host": None, "port": 0})
    assert (place, rest) == ({"host": None, "port": 0}, {})


def test_each_option_has_a_type_and_a_sentence() -> None:
    names = set(Options.__annotations__)
    assert names >= {*ServeOptions.__annotations__, *Settings.__dataclass_fields__}
    documented = "\n".join(each.__doc__ or "" for each in (HTTPOptions, ServeOptions, Options))
    assert [
        name for name in names if not re.search(rf"^ +{name}: ", documented, re.MULTILINE)
    ] == []


def test_options_of_every_server_reach_the_server() -> None:
    options: Any = {
        "queued": "refuse",
        "shed": True,
        "handler_errors": "raise",
        "max_connections": 1,
    }
    with serving(apps.routes, reuse_port=True, **options) as served:
        with served.connect() as client, served.connect() as turned_away:
            assert client.get(b"/hello").body == b"hello"
            assert turned_away.read_all().removesuffix(b"<reset>") == b""
        with socket.socket() as second:
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            second.bind(served.address)
    assert served.summary.result().shed == 1


def test_the_server_stops_in_good_order_after_the_last_request() -> None:
    with (
        serving(apps.routes, max_requests=3) as served,
        served.connect() as client,
        served.connect() as other,
    ):
        other.send(request(b"POST", b"/echo", b"Content-Length: 5"))
        answers = [client.get(b"/hello") for _ in range(2)]
        assert [answer.body for answer in answers] == [b"hello"] * 2
        assert answers[0][b"connection"] is None
        assert answers[1][b"connection"] == b"close"  # the third request is the one under way
        other.send(b"hello")
        answer = other.read_answer()
        assert (answer.body, answer[b"connection"]) == (b"hello", b"close")
        assert (client.read_all(), other.read_all()) == (b"", b"")
        summary = served.summary.result(5)
    assert (summary.cancelled, summary.failed) == (0, 0)


def test_the_jitter_spreads_the_last_request() -> None:
    drawn = {
        requests_until_stop(Settings(max_requests=10, max_requests_jitter=5)) for _ in range(200)
    }
    assert drawn == {10, 11, 12, 13, 14, 15}
    assert requests_until_stop(Settings()) == float("inf")
