"""Wrong arguments: each gets an error that shows the right line; nothing leaks, nothing hangs."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

import anyio_mio
from anyio_mio.poll import available_selectors
from anyio_mio.testing import ScriptedSelector
from tests.shared.leaks import no_thread_left, nothing_left_open


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    anyio_mio.run(anyio.sleep, 0)  # what is made once per process
    with no_thread_left(), nothing_left_open(after_collecting=True):
        yield


async def nothing() -> None:
    pass


class TestOptions:
    @pytest.mark.parametrize(
        "options, error, text",
        [
            ({"checkpoint": "strict"}, TypeError, "did you mean 'checkpoints'"),
            ({"use_uvloop": True}, TypeError, "no option 'use_uvloop'"),
            ({"checkpoints": "never"}, ValueError, "cannot be 'never'"),
            ({"busy_poll": "20us"}, TypeError, "20e-6"),
            ({"busy_poll": True}, TypeError, "20e-6"),
            ({"busy_poll": -1}, ValueError, "0 to 0.01 seconds"),
            ({"busy_poll": 20}, ValueError, "0 to 0.01 seconds"),
            ({"clock": "mock"}, TypeError, "MockClock"),
            ({"clock": 0}, TypeError, "MockClock"),
            ({"instruments": 5}, TypeError, "instruments"),
            ({"instruments": ["a name"]}, TypeError, "lowlevel.Instrument"),
            ({"selector": "iocp"}, ValueError, "choose one of"),
            ({"selector": 5}, TypeError, "'epoll'"),
            ({"shuffle": "random"}, TypeError, "the seed"),
        ],
    )
    def test_a_wrong_one_is_refused(
        self, options: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        with pytest.raises(error, match=text):
            anyio_mio.run(nothing, **options)


class TestMain:
    def test_a_coroutine_is_refused_and_closed(self) -> None:
        coroutine: Any = nothing()

        with pytest.raises(TypeError, match=r"right: anyio_mio\.run\(nothing\)"):
            anyio_mio.run(coroutine)

    def test_a_sync_function_is_refused(self) -> None:
        function: Any = lambda: 5  # noqa: E731

        with pytest.raises(TypeError, match="async def main"):
            anyio_mio.run(function)

    def test_what_cannot_be_called_is_refused(self) -> None:
        number: Any = 5

        with pytest.raises(TypeError):
            anyio_mio.run(number)

    def test_a_run_inside_a_run_is_refused(self) -> None:
        async def main() -> None:
            with pytest.raises(RuntimeError, match="Already running mio"):
                anyio_mio.run(nothing)

        anyio_mio.run(main)


class TestTimes:
    @pytest.mark.parametrize(
        "use",
        [
            lambda: anyio.CancelScope(deadline=math.nan),
            lambda: anyio.fail_after(math.nan).__enter__(),
            lambda: (
                anyio.move_on_at(math.nan).__enter__()
                if hasattr(anyio, "move_on_at")
                else anyio.CancelScope(deadline=math.nan)
            ),
        ],
    )
    def test_a_deadline_that_is_no_number_is_refused(self, use: Callable[[], object]) -> None:
        async def main() -> None:
            with pytest.raises(ValueError, match=r"NaN|nan"):
                use()

        anyio_mio.run(main)

    def test_moving_a_deadline_to_no_number_is_refused_and_changes_nothing(self) -> None:
        async def main() -> None:
            with anyio.CancelScope(deadline=anyio.current_time() + 60) as scope:
                before = scope.deadline
                with pytest.raises(ValueError, match="NaN"):
                    scope.deadline = math.nan
                assert scope.deadline == before
                await anyio.lowlevel.checkpoint()

        anyio_mio.run(main)

    @pytest.mark.parametrize("seconds", [-1, math.nan])
    def test_such_sleeps_are_refused(self, seconds: float) -> None:
        async def main() -> None:
            with pytest.raises(ValueError, match=r"negative|NaN"):
                await anyio.sleep(seconds)

        anyio_mio.run(main)


async def readable(sock: socket.socket) -> None:
    await anyio.wait_readable(sock)


async def foreign_await() -> None:
    class Foreign:
        def __await__(self) -> Generator[object, None, None]:
            yield self

    await Foreign()


class TestForeignAwaits:
    def test_something_of_another_event_loop_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"right: await anyio\.sleep\(1\)"):
            anyio_mio.run(foreign_await)

    def test_the_task_can_go_on(self) -> None:
        async def main() -> str:
            with pytest.raises(TypeError):
                await foreign_await()
            await anyio.sleep(0.001)
            return "went on"

        assert anyio_mio.run(main) == "went on"


@pytest.mark.parametrize("selector", available_selectors())
class TestDescriptors:
    def test_a_regular_file_is_never_waited_for(self, selector: str, tmp_path: Path) -> None:
        async def main() -> None:
            with (tmp_path / "file").open("w") as file:
                for wait in (anyio.wait_readable, anyio.wait_writable):
                    with pytest.raises(PermissionError):
                        await wait(file)

        anyio_mio.run(main, selector=selector)

    def test_a_closed_descriptor_is_refused(self, selector: str) -> None:
        async def main() -> None:
            with socket.socket() as sock:
                number = sock.fileno()
            with pytest.raises(OSError, match="Bad file descriptor"):
                await anyio.wait_readable(number)
            with pytest.raises((OSError, ValueError)):
                await anyio.wait_readable(sock)

        anyio_mio.run(main, selector=selector)

    def test_a_second_waiter_is_refused_and_the_first_is_served(self, selector: str) -> None:
        async def main() -> None:
            ours, peer = socket.socketpair()
            with ours, peer:
                async with anyio.create_task_group() as group:
                    group.start_soon(readable, ours)
                    await anyio.wait_all_tasks_blocked()
                    with pytest.raises(anyio.BusyResourceError):
                        await anyio.wait_readable(ours)
                    peer.send(b"x")

        anyio_mio.run(main, selector=selector)

    def test_a_second_receiver_is_refused_and_the_first_is_served(self, selector: str) -> None:
        async def main() -> None:
            ours, peer = socket.socketpair()
            with peer:
                async with (
                    await anyio.abc.UNIXSocketStream.from_socket(ours) as stream,
                    anyio.create_task_group() as group,
                ):
                    group.start_soon(stream.receive)
                    await anyio.wait_all_tasks_blocked()
                    with pytest.raises(anyio.BusyResourceError):
                        await stream.receive()
                    peer.send(b"x")

        anyio_mio.run(main, selector=selector)

    def test_waiting_for_the_raw_socket_of_a_stream_leaves_the_stream_alone(
        self, selector: str
    ) -> None:
        async def main() -> None:
            ours, peer = socket.socketpair()
            with peer:
                async with await anyio.abc.UNIXSocketStream.from_socket(ours) as stream:
                    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                    for _ in range(3):
                        async with anyio.create_task_group() as group:
                            group.start_soon(stream.receive)
                            group.start_soon(readable, raw)
                            await anyio.wait_all_tasks_blocked()
                            peer.send(b"x")

        with_deadline(main, selector)

    def test_a_stream_that_closes_ends_a_wait_for_its_raw_socket(self, selector: str) -> None:
        async def wait(raw: socket.socket) -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await anyio.wait_readable(raw)

        async def main() -> None:
            ours, peer = socket.socketpair()
            with peer:
                stream = await anyio.abc.UNIXSocketStream.from_socket(ours)
                raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                async with anyio.create_task_group() as group:
                    group.start_soon(wait, raw)
                    await anyio.wait_all_tasks_blocked()
                    await stream.aclose()

        with_deadline(main, selector)


def with_deadline(main: Callable[[], Any], selector: str) -> None:
    async def limited() -> None:
        with anyio.fail_after(5):
            await main()

    anyio_mio.run(limited, selector=selector)


class TestSockets:
    def test_a_listening_socket_is_no_stream(self) -> None:
        async def main() -> None:
            listener = socket.create_server(("127.0.0.1", 0))
            with listener, pytest.raises(ValueError, match="must be connected"):
                await anyio.abc.SocketStream.from_socket(listener)

        anyio_mio.run(main)

    @pytest.mark.parametrize("thing", [5.0, "socket", None])
    def test_what_is_no_socket_is_refused(self, thing: Any) -> None:
        async def main() -> None:
            with pytest.raises((TypeError, AttributeError, ValueError)):
                await anyio.abc.SocketStream.from_socket(thing)

        anyio_mio.run(main)

    def test_a_pipe_is_no_socket(self) -> None:
        async def main() -> None:
            reader, writer = os.pipe()
            try:
                with pytest.raises((OSError, ValueError)):
                    await anyio.abc.SocketStream.from_socket(reader)
            finally:
                for number in (reader, writer):
                    with_suppressed_close(number)

        anyio_mio.run(main)

    def test_a_closed_socket_is_refused(self) -> None:
        async def main() -> None:
            with socket.socket() as sock:
                pass
            with pytest.raises((OSError, ValueError)):
                await anyio.abc.SocketStream.from_socket(sock)

        anyio_mio.run(main)

    @pytest.mark.parametrize("max_bytes", [0, -1])
    def test_a_receive_asks_for_at_least_one_byte(self, max_bytes: int) -> None:
        async def main() -> None:
            ours, peer = socket.socketpair()
            with peer:
                async with await anyio.abc.UNIXSocketStream.from_socket(ours) as stream:
                    with pytest.raises(ValueError, match="max_bytes"):
                        await stream.receive(max_bytes)

        anyio_mio.run(main)


def with_suppressed_close(number: int) -> None:
    try:
        os.close(number)
    except OSError:
        pass


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_an_error_of_a_selector_ends_the_run_and_releases_everything(turns: int) -> None:
    seen: list[float | None] = []

    def fail(timeout: float | None) -> None:
        seen.append(timeout)
        if len(seen) > turns:
            raise OSError("the system has had enough")

    async def main() -> None:
        async with anyio.create_task_group() as group, anyio.create_task_group():
            group.start_soon(anyio.sleep, 1)
            with anyio.CancelScope():
                await anyio.sleep(1)

    with pytest.raises(OSError, match="had enough"):
        anyio_mio.run(main, selector=ScriptedSelector(on_wait=fail))
