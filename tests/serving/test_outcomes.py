"""No handler ends the server, whatever it does; and each outcome has its line in the log."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute

import anyio_mio
from anyio_mio._net.logs import LOGGER
from anyio_mio._net.streams import SocketStream
from anyio_mio.serving import ServeSummary, serve_tcp, serve_unix

Stream = anyio.abc.SocketStream
Handler = Callable[[Stream], Awaitable[None]]


def summary_of(handler: Handler, *, healthy: int = 2, **options: Any) -> ServeSummary:
    """Serve a bad client, then healthy ones, one at a time; none is turned away."""

    async def dispatch(stream: Stream) -> None:
        if await stream.receive() == b"bad":
            await handler(stream)
        else:
            await stream.send(b"served")

    async def main() -> ServeSummary:
        stop = anyio.Event()
        ended: list[ServeSummary] = []

        async def serve(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
            ended.append(
                await serve_tcp(
                    dispatch,
                    0,
                    host="127.0.0.1",
                    stop=stop,
                    max_connections=1,
                    task_status=task_status,
                    **options,
                )
            )

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                (listener,) = await group.start(serve)
                port = listener.extra(SocketAttribute.local_port)
                for word in [b"bad", *[b"good"] * healthy]:
                    async with await anyio.connect_tcp("127.0.0.1", port) as client:
                        await client.send(word)
                        if word == b"good":
                            assert await client.receive() == b"served"
                        else:
                            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                                await client.receive()
                stop.set()
        return ended[0]

    return anyio_mio.run(main)


async def raise_an_error(stream: Stream) -> None:
    raise LookupError("a bug")


async def raise_a_cancellation_that_is_not_its_own(stream: Stream) -> None:
    errors: list[BaseException] = []

    async def load() -> None:
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            errors.append(error)
            raise

    with anyio.move_on_after(0):
        await load()
    raise errors[0]


async def raise_asyncios_cancellation(stream: Stream) -> None:
    raise asyncio.CancelledError


async def raise_a_group_of_both(stream: Stream) -> None:
    raise BaseExceptionGroup("both", [asyncio.CancelledError(), ValueError()])


async def leave_a_group_open(stream: Stream) -> None:
    group = anyio.create_task_group()
    await group.__aenter__()
    group.start_soon(anyio.sleep_forever)


async def leave_a_group_open_whose_child_fails(stream: Stream) -> None:
    async def fail_at_the_end() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("a bug in the clean-up")

    group = anyio.create_task_group()
    await group.__aenter__()
    group.start_soon(fail_at_the_end)
    await anyio.lowlevel.checkpoint()


async def leave_groups_and_scopes_open_and_raise(stream: Stream) -> None:
    for _ in range(3):
        anyio.CancelScope().__enter__()
        group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(anyio.sleep_forever)
    raise LookupError("a bug")


FAILING = [
    raise_an_error,
    raise_a_cancellation_that_is_not_its_own,
    raise_asyncios_cancellation,
    raise_a_group_of_both,
    leave_a_group_open,
    leave_a_group_open_whose_child_fails,
    leave_groups_and_scopes_open_and_raise,
]


@pytest.mark.parametrize("handler", FAILING)
def test_a_handler_that_fails_costs_one_line_and_its_own_connection(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    summary = summary_of(handler)

    assert summary == ServeSummary(3, 2, 1, 0, 0, 0)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def close_by_number(stream: Stream) -> None:
    os.close(stream.extra(SocketAttribute.raw_socket).fileno())


async def wrap_the_number(stream: Stream) -> None:
    socket.socket(fileno=stream.extra(SocketAttribute.raw_socket).fileno()).close()


async def close_by_number_and_as_a_stream(stream: Stream) -> None:
    await close_by_number(stream)
    await stream.aclose()


@pytest.mark.parametrize(
    "handler", [close_by_number, wrap_the_number, close_by_number_and_as_a_stream]
)
def test_a_descriptor_closed_by_its_number_costs_one_line(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    summary = summary_of(handler)

    assert summary.accepted == 3
    assert summary.finished + summary.failed == 3
    (record,) = caplog.records
    assert "Bad file descriptor" in caplog.text
    assert record.levelno == logging.ERROR


@pytest.mark.parametrize("code", [errno.EIO, errno.EINTR])
def test_an_error_of_close_gives_the_permit_back(
    code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = SocketStream._release

    def release(self: SocketStream) -> None:
        real(self)
        if self._accepted_by is not None:
            raise OSError(code, os.strerror(code))

    async def nothing(stream: Stream) -> None:
        """Let the server close it."""

    monkeypatch.setattr(SocketStream, "_release", release)
    assert summary_of(nothing) == ServeSummary(3, 3, 0, 0, 0, 0)
    assert len(caplog.records) == 3


def test_a_logging_call_that_raises_loses_its_line_only() -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError("a bug in the program's logging")

    LOGGER.addFilter(refuse)
    try:
        assert summary_of(raise_an_error).failed == 1
    finally:
        LOGGER.removeFilter(refuse)


async def receive_until_broken(stream: Stream) -> None:
    raise anyio.BrokenResourceError from ConnectionResetError()


async def receive_until_the_end(stream: Stream) -> None:
    raise anyio.EndOfStream


async def both_in_groups(stream: Stream) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(receive_until_broken, stream)
        group.start_soon(receive_until_the_end, stream)


@pytest.mark.parametrize("handler", [receive_until_broken, receive_until_the_end, both_in_groups])
def test_a_client_that_hangs_up_is_one_line_at_debug(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, LOGGER.name)

    assert summary_of(handler) == ServeSummary(3, 3, 0, 0, 0, 0)
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.exc_info is None
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_a_handlers_failure(error: type[BaseException]) -> None:
    async def end(stream: Stream) -> None:
        raise error

    with pytest.raises((BaseExceptionGroup, KeyboardInterrupt)) as caught:
        summary_of(end)
    ended = caught.value  # a run that Ctrl-C ends raises it bare
    assert isinstance(ended, error) or ended.subgroup(error) is not None  # type: ignore[attr-defined]


def test_an_error_while_the_server_cancels_its_handlers_is_logged_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_when_cancelled(stream: Stream) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("a bug in the clean-up")

    async def main() -> ServeSummary:
        stop = anyio.Event()
        ended: list[ServeSummary] = []

        async def serve(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
            options: dict[str, Any] = {"host": "127.0.0.1", "stop": stop, "grace": 0}
            ended.append(
                await serve_tcp(fail_when_cancelled, 0, task_status=task_status, **options)
            )

        async with anyio.create_task_group() as group:
            (listener,) = await group.start(serve)
            port = listener.extra(SocketAttribute.local_port)
            async with await anyio.connect_tcp("127.0.0.1", port):
                await anyio.wait_all_tasks_blocked()
                stop.set()
        return ended[0]

    assert anyio_mio.run(main) == ServeSummary(1, 0, 1, 0, 0, 0)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_peers_name_cannot_write_lines_or_colours(
    tmp_path: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "x failed\nCRITICAL root logged in \x1b[2J"

    async def main() -> None:
        async def serve(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
            await serve_unix(raise_an_error, "socket", task_status=task_status)

        async with anyio.create_task_group() as group:
            await group.start(serve)
            with socket.socket(socket.AF_UNIX) as client:
                client.bind(name)
                client.connect("socket")
                await anyio.wait_all_tasks_blocked()
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    anyio_mio.run(main)
    (message,) = caplog.messages
    assert "\n" not in message
    assert "\x1b" not in message
