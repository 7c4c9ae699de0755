"""Serving, opening and listening, as Trio does and a little better."""

from __future__ import annotations

import errno
import functools
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import anyio_mio.trio as mio_trio
from anyio_mio._net import backoff
from anyio_mio._net.logs import LOGGER
from tests.trio.running import everything_is_blocked, run, tcp_pair

LOCAL = "127.0.0.1"


async def echo(stream: mio_trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def start(nursery: trio.Nursery, handler: Any = echo, **options: Any) -> Any:
    serve = functools.partial(mio_trio.serve_tcp, handler, 0, host=LOCAL, **options)
    (listener,) = await nursery.start(serve)
    return listener


@pytest.mark.usefixtures("place")
def test_a_program_for_trio_changes_one_import() -> None:
    async def main(library: Any) -> bytes:
        async with trio.open_nursery() as nursery:
            serve = functools.partial(library.serve_tcp, echo, 0, host=LOCAL)
            listeners = await nursery.start(serve)
            async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as stream:
                await stream.send_all(b"hello")
                answer = bytes(await stream.receive_some())
            nursery.cancel_scope.cancel()
        return answer

    assert run(main, trio) == run(main, mio_trio) == b"hello"


@pytest.mark.usefixtures("place")
def test_connections_that_came_together_are_all_served() -> None:
    async def main() -> int:
        served = 0

        async def count(stream: mio_trio.SocketStream) -> None:
            nonlocal served
            served += 1

        async with trio.open_nursery() as nursery:
            listener = await start(nursery, count)
            clients = [socket.create_connection(listener.socket.getsockname()) for _ in range(200)]
            await everything_is_blocked()
            for client in clients:
                client.close()
            nursery.cancel_scope.cancel()
        return served

    assert run(main) == 200


def test_a_stream_is_closed_after_its_handler() -> None:
    async def main() -> bytes:
        async def forgetful(stream: mio_trio.SocketStream) -> None:
            await stream.send_all(b"bye")

        async with trio.open_nursery() as nursery:
            listener = await start(nursery, forgetful)
            async with await mio_trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
                answer = b"".join([data async for data in stream])
            nursery.cancel_scope.cancel()
        return answer

    assert run(main) == b"bye"


def test_an_error_of_a_handler_ends_the_server_as_trios_does() -> None:
    async def main() -> None:
        async def broken(stream: mio_trio.SocketStream) -> None:
            raise ZeroDivisionError

        async with trio.open_nursery() as nursery:
            listener = await start(nursery, broken)
            client = await mio_trio.open_tcp_stream(*listener.socket.getsockname())
            async with client:
                await trio.sleep_forever()

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        run(main)


def test_handlers_run_in_the_nursery_that_is_given() -> None:
    async def main() -> bytes:
        async with trio.open_nursery() as handlers:
            async with trio.open_nursery() as nursery:
                listener = await start(nursery, handler_nursery=handlers)
                stream = await mio_trio.open_tcp_stream(*listener.socket.getsockname())
                await stream.send_all(b"1")
                await stream.receive_some()
                nursery.cancel_scope.cancel()
            async with stream:  # the server is gone, its handler is not
                await stream.send_all(b"2")
                answer = await stream.receive_some()
        return answer

    assert run(main) == b"2"


def test_running_out_of_descriptors_is_waited_out_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> bytes:
        async with trio.open_nursery() as nursery:
            listener = await start(nursery)
            accept_fd, failures = listener._acceptor._accept_fd, iter(range(5))

            def fail_at_first() -> object:
                if next(failures, None) is not None:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                return accept_fd()

            listener._acceptor._accept_fd = fail_at_first
            stream = await mio_trio.open_tcp_stream(*listener.socket.getsockname())
            async with stream:
                await stream.send_all(b"x")
                answer = await stream.receive_some()
            nursery.cancel_scope.cancel()
        return answer

    monkeypatch.setattr(backoff, "FIRST_DELAY", 0.001)
    with caplog.at_level(logging.ERROR, logger=LOGGER.name):
        assert run(main) == b"x"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPERM, errno.EPROTO])
def test_an_error_of_one_connection_concerns_that_connection(code: int) -> None:
    async def main() -> bytes:
        async with trio.open_nursery() as nursery:
            listener = await start(nursery)
            accept_fd, failures = listener._acceptor._accept_fd, iter(range(3))

            def fail_at_first() -> object:
                if next(failures, None) is not None:
                    raise OSError(code, os.strerror(code))
                return accept_fd()

            listener._acceptor._accept_fd = fail_at_first
            async with await mio_trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
                await stream.send_all(b"x")
                answer = await stream.receive_some()
            nursery.cancel_scope.cancel()
        return answer

    assert run(main) == b"x"


def test_any_other_error_of_accept_is_raised() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listener = await start(nursery)

            def fail() -> object:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

            # The client is connected before the loop hears of it, so that only accepting fails.
            with socket.create_connection(listener.socket.getsockname()):
                listener._acceptor._accept_fd = fail
                await trio.sleep_forever()

    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="Invalid"), flatten_subgroups=True):
        run(main)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("most", [1, 3])
def test_no_more_connections_are_open_than_allowed(most: int) -> None:
    async def main() -> tuple[int, int]:
        now = highest = 0

        async def count(stream: mio_trio.SocketStream) -> None:
            nonlocal now, highest
            now += 1
            highest = max(now, highest)
            await stream.receive_some()
            now -= 1

        async with trio.open_nursery() as nursery:
            listener = await start(nursery, count, max_connections=most)
            clients = [socket.create_connection(listener.socket.getsockname()) for _ in range(10)]
            for client in clients:
                await everything_is_blocked()
                client.close()
            await everything_is_blocked()
            assert listener.statistics().open == 0
            nursery.cancel_scope.cancel()
        return highest, listener.statistics().accepted

    assert run(main) == (most, 10)


def test_a_socket_that_closes_ends_the_wait_for_a_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listener = await start(nursery)
            accept_fd, failures = listener._acceptor._accept_fd, iter(range(1))

            def fail_at_first() -> object:
                if next(failures, None) is not None:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                return accept_fd()

            pair = await tcp_pair()
            listener._acceptor._accept_fd = fail_at_first
            async with await mio_trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
                await everything_is_blocked()
                assert listener.statistics().paused_until
                for one in pair:
                    await one.aclose()
                await stream.send_all(b"x")
                assert await stream.receive_some() == b"x"
            nursery.cancel_scope.cancel()

    monkeypatch.setattr(backoff, "FIRST_DELAY", 60)
    monkeypatch.setattr(backoff, "LAST_DELAY", 60)
    run(main)


def test_accept_itself_raises_when_out_of_descriptors_as_trios_does() -> None:
    async def main() -> None:
        (listener,) = await mio_trio.open_tcp_listeners(0, host=LOCAL)

        def fail() -> object:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        listener._acceptor._accept_fd = fail
        async with listener:
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                await listener.accept()

    run(main)


def test_a_hook_may_overrule_what_an_error_means() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listener = await start(
                nursery, on_accept_error=lambda *_: mio_trio.AcceptErrorKind.RAISE
            )

            def fail() -> object:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))

            with socket.create_connection(listener.socket.getsockname()):
                listener._acceptor._accept_fd = fail
                await trio.sleep_forever()

    with pytest.RaisesGroup(pytest.RaisesExc(PermissionError), flatten_subgroups=True):
        run(main)


@pytest.mark.parametrize("limit", ["max_connections", "accept_batch"])
def test_a_limit_below_one_is_refused(limit: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=limit):
            await mio_trio.serve_listeners(echo, [], **{limit: 0})  # type: ignore[arg-type]

    run(main)


@pytest.mark.usefixtures("place")
def test_unix_sockets_are_served_and_opened(tmp_path: Path) -> None:
    async def main() -> bytes:
        path = tmp_path / "socket"
        async with trio.open_nursery() as nursery:
            await nursery.start(functools.partial(mio_trio.serve_unix, echo, path, mode=0o600))
            assert path.stat().st_mode & 0o777 == 0o600
            async with await mio_trio.open_unix_socket(path) as stream:
                await stream.send_all(b"x")
                answer = await stream.receive_some()
            nursery.cancel_scope.cancel()
        return answer

    assert run(main) == b"x"


@pytest.mark.usefixtures("place")
def test_closing_a_listener_wakes_who_accepts() -> None:
    async def main() -> None:
        (listener,) = await mio_trio.open_tcp_listeners(0, host=LOCAL)
        async with trio.open_nursery() as nursery:

            async def accept() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await listener.accept()

            nursery.start_soon(accept)
            await everything_is_blocked()
            await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    run(main)


@pytest.mark.invariant("T1")
@pytest.mark.usefixtures("place")
def test_two_who_accept_get_trios_busy_error() -> None:
    async def main() -> None:
        (listener,) = await mio_trio.open_tcp_listeners(0, host=LOCAL)
        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(listener.accept)
            await everything_is_blocked()
            with pytest.raises(trio.BusyResourceError):
                await listener.accept()
            nursery.cancel_scope.cancel()

    run(main)


def test_a_listener_is_made_of_a_listening_trio_socket_only() -> None:
    async def main() -> None:
        with socket.socket() as plain, pytest.raises(TypeError, match="Trio socket"):
            mio_trio.SocketListener(plain)  # type: ignore[arg-type]
        with trio.socket.socket() as silent, pytest.raises(ValueError, match="listening"):
            mio_trio.SocketListener(silent)

    run(main)


def test_bad_arguments_are_refused_as_trio_does() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="port"):
            await mio_trio.open_tcp_listeners("80")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="backlog"):
            await mio_trio.open_tcp_listeners(0, backlog="many")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="host"):
            await mio_trio.open_tcp_stream(None, 80)  # type: ignore[arg-type]

    run(main)


def test_a_refused_connection_is_an_os_error_with_its_reasons() -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind((LOCAL, 0))
            with pytest.raises(OSError, match="all attempts to connect") as caught:
                await mio_trio.open_tcp_stream(*unused.getsockname())
        assert isinstance(caught.value.__cause__, ExceptionGroup)

    run(main)


def test_listeners_over_tls_are_served_too() -> None:
    async def main() -> None:
        left, right = trio.testing.memory_stream_pair()

        class OneConnection(trio.abc.Listener[trio.abc.Stream]):
            async def accept(self) -> trio.abc.Stream:
                if streams:
                    return streams.pop()
                await trio.sleep_forever()
                raise AssertionError

            async def aclose(self) -> None:
                await trio.lowlevel.checkpoint()

        async def answer(stream: trio.abc.Stream) -> None:
            await stream.send_all(b"x")

        streams: list[trio.abc.Stream] = [right]
        async with trio.open_nursery() as nursery:
            serve = functools.partial(mio_trio.serve_listeners, answer, [OneConnection()])
            await nursery.start(serve)
            assert await left.receive_some() == b"x"
            nursery.cancel_scope.cancel()

    run(main)


def test_serving_needs_a_run() -> None:
    with pytest.raises(RuntimeError):
        mio_trio.serve_tcp(echo, 0).send(None)
    with pytest.raises(RuntimeError):
        mio_trio.current_statistics()
