"""What a server counts of its requests."""

from __future__ import annotations

from typing import Any

from websockets.sync.client import connect

from anyio_mio.asgi import RequestStatistics

from . import apps
from .served import request, serving
from .test_requests import wait_for


async def echo_messages(scope: Any, receive: Any, send: Any) -> None:
    """Accept a WebSocket and keep it until the client closes it."""
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


def test_answers_are_counted_by_method_and_status_also_those_that_the_server_gave() -> None:
    statistics = RequestStatistics()
    with serving(apps.routes, statistics=statistics) as served:
        with served.connect() as client:
            assert client.get(b"/hello").status == 200
            client.send(request(b"HEAD", b"/hello"))
            client.read_answer(b"HEAD")
            assert client.get(b"/fail").status == 500
        with served.connect() as client:
            client.send(b"nonsense\r\n\r\n")
            assert client.read_answer().status == 400
        wait_for(lambda: not statistics.active)

    assert statistics.answers == {("GET", 200): 1, ("HEAD", 200): 1, ("GET", 500): 1}
    assert statistics.refused == {400: 1}
    assert sum(statistics.durations) == statistics.requests == 3
    assert 0 < statistics.seconds < 5


def test_a_request_that_is_turned_away_for_want_of_room_counts_with_its_status() -> None:
    statistics = RequestStatistics()
    with (
        serving(apps.routes, statistics=statistics, limit_concurrency=1) as served,
        served.connect() as first,
        served.connect() as second,
    ):
        first.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        wait_for(lambda: statistics.active == 1)
        assert second.get(b"/hello").status == 503
    assert statistics.answers["GET", 503] == 1


def test_a_websocket_counts_while_it_is_open_and_is_no_request() -> None:
    statistics = RequestStatistics()
    with serving(echo_messages, lifespan="off", statistics=statistics) as served:
        host, port = served.address[:2]
        with connect(f"ws://{host}:{port}/"):
            wait_for(lambda: statistics.open_websockets == 1)
            assert statistics.active == 0
        wait_for(lambda: statistics.open_websockets == 0)

    assert statistics.websockets == {101: 1}
    assert sum(statistics.durations) == 0
