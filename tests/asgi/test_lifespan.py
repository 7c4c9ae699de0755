"""Startup, shutdown, and stopping in good order."""

from __future__ import annotations

import logging
import threading
from typing import Any

import anyio
import pytest

import anyio_mio
import anyio_mio.asgi
from anyio_mio.asgi import ApplicationError
from tests.asgi import apps
from tests.asgi.served import KINDS, WAIT, Kind, request, serving


def test_startup_comes_before_the_first_request_and_shutdown_after_the_last() -> None:
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
            for _ in range(2):
                message = await receive()
                events.append(message["type"])
                await send({"type": message["type"] + ".complete"})
        else:
            events.append("request")
            await apps.hello(scope, receive, send)

    with serving(app) as served, served.connect() as client:
        client.get()
    assert events == ["lifespan.startup", "request", "lifespan.shutdown"]


async def knows_no_lifespan(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await apps.hello(scope, receive, send)


async def returns_at_once(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await apps.hello(scope, receive, send)


@pytest.mark.parametrize("app", [knows_no_lifespan, returns_at_once])
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_an_application_without_lifespan_is_served(
    app: Any, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anyio_mio.asgi")
    with serving(app, lifespan=mode) as served, served.connect() as client:
        assert client.get().body == b"hello"
    assert caplog.records == []


@pytest.mark.parametrize("app", [knows_no_lifespan, returns_at_once])
def test_an_application_without_lifespan_is_not_served_where_it_is_required(app: Any) -> None:
    with pytest.raises(ApplicationError, match="ended before it sent"):
        anyio_mio.asgi.run(app, port=0, lifespan="on")


async def two(scope: Any, receive: Any) -> None:
    pass


class NoApplication:
    def __call__(self) -> None:
        pass


@pytest.mark.parametrize(
    "app, name", [(two, "test_lifespan.two"), (NoApplication(), "NoApplication object")]
)
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_what_takes_no_three_arguments_is_not_served(app: Any, name: str, mode: Any) -> None:
    with pytest.raises(ApplicationError, match=f"{name} is not an ASGI application: .*positional"):
        anyio_mio.asgi.run(app, port=0, lifespan=mode)


def test_a_wrong_call_within_an_application_is_no_wrong_application() -> None:
    def app(scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] != "http":
            two()  # type: ignore[call-arg, unused-coroutine]
        return apps.hello(scope, receive, send)

    with serving(app) as served, served.connect() as client:
        assert client.get().body == b"hello"


def test_a_startup_that_raises_is_a_warning_where_lifespan_is_not_required(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            raise LookupError("no database")
        await apps.hello(scope, receive, send)

    with serving(app) as served, served.connect() as client:
        assert client.get().body == b"hello"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "app failed after 'lifespan.startup' and is served without it" in record.getMessage()
    assert "lifespan='on'" in record.getMessage()
    assert record.exc_info
    assert isinstance(record.exc_info[1], LookupError)


def test_a_startup_that_fails_ends_the_server_with_its_reason() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(ApplicationError, match="app failed to start: no database"):
        anyio_mio.asgi.run(app, port=0)


def test_an_event_out_of_order_in_startup_raises_an_error_that_names_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    with pytest.raises(ApplicationError) as caught:
        anyio_mio.asgi.run(app, port=0, lifespan="on")
    cause = str(caught.value.__cause__)
    assert "sent 'lifespan.shutdown.complete' in 'lifespan.startup'" in cause
    assert "right: 'lifespan.startup.complete' or 'lifespan.startup.failed'" in cause


def test_a_startup_that_takes_long_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyio_mio.asgi.lifespan.PATIENCE", 0.05)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await anyio.sleep(0.2)
            await apps.lifespan(receive, send)
        else:
            await apps.hello(scope, receive, send)

    with serving(app) as served, served.connect() as client:
        assert client.get().body == b"hello"
    [record] = caplog.records
    assert record.getMessage().endswith("app has not answered 'lifespan.startup' after 0.05 s")


@pytest.mark.parametrize("how", ["fails", "raises", "hangs"])
def test_a_shutdown_that_goes_wrong_is_logged_and_ends_all_the_same(
    how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyio_mio.asgi.server.LEAST_SHUTDOWN", 0.2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if how == "fails":
            await send({"type": "lifespan.shutdown.failed", "message": "no way out"})
        elif how == "raises":
            raise LookupError("no way out")
        await anyio.sleep_forever()

    with serving(app, grace=0.1):
        pass
    text = {"fails": "failed to shut down: no way out", "raises": "failed in its lifespan",
            "hangs": "did not answer 'lifespan.shutdown' within 0.2 s"}[how]  # fmt: skip
    assert text in caplog.text


def test_an_application_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="'text' is not an ASGI application"):
        anyio_mio.asgi.run("text", port=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_closes_idle_connections_at_once(kind: Kind) -> None:
    with serving(apps.routes, kind, grace=60) as served:
        idle, fresh = served.connect(), served.connect()
        idle.get(b"/hello")
        served.tell_to_stop()
        assert idle.read_all() == b""
        assert fresh.read_all() == b""
        summary = served.summary.result(WAIT)
    assert (summary.finished, summary.cancelled) == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_lets_requests_finish_and_then_closes(kind: Kind) -> None:
    going = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        going.set()
        await anyio.sleep(0.3)
        await apps.name(scope, receive, send)

    with serving(app, kind, lifespan="off", grace=5) as served, served.connect() as client:
        client.send(request(b"GET", b"/slow"))
        assert going.wait(5)
        served.tell_to_stop()
        answer = client.read_answer()
        assert (answer.body, answer[b"connection"]) == (b"/slow", b"close")
        assert client.read_all() == b""
        assert served.summary.result(5).cancelled == 0


def test_a_request_beyond_the_grace_period_is_cancelled() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps.start(send)
        await apps.say(send, b"part", more=True)
        await anyio.sleep_forever()

    with serving(app, lifespan="off", grace=0.2) as served, served.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        client.read_until(b"part")
        served.tell_to_stop()
        assert client.read_all() == b"<reset>"
        assert served.summary.result(5).cancelled == 1


def test_a_cancelled_server_stops_in_the_same_order() -> None:
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await apps.lifespan(receive, send)
            events.append("shut down")
            return
        events.append("request")
        await anyio.sleep(0.2)
        await apps.name(scope, receive, send)
        events.append("answered")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            listeners = await group.start(
                lambda **kwargs: anyio_mio.asgi.serve(app, port=0, grace=5, **kwargs)
            )
            port = listeners[0].extra(anyio.abc.SocketAttribute.local_port)
            idle = await anyio.connect_tcp("127.0.0.1", port)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(request(b"GET", b"/"))
                while not events:
                    await anyio.sleep(0.01)
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True), anyio.fail_after(3):
                    assert b"200 OK" in await stream.receive()
                    with pytest.raises(anyio.EndOfStream):
                        await idle.receive()
                    await idle.aclose()

    anyio_mio.run(main)
    assert events == ["request", "answered", "shut down"]


def test_a_port_that_is_taken_is_an_error_after_which_the_application_shuts_down() -> None:
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps.lifespan(receive, send)
        events.append("shut down")

    with serving(apps.routes) as served, pytest.raises(OSError, match="in use"):
        anyio_mio.asgi.run(app, port=served.port)
    assert events == ["shut down"]
