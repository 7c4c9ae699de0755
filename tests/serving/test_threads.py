"""One server in several threads; the interpreter's lock is taken away in name only."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

import anyio_mio
from anyio_mio._kernel import fairness
from anyio_mio.serving import ServeSummary
from anyio_mio.serving import threads as threads_module

THREADS = 3


@pytest.fixture
def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "gil_is_enabled", lambda: False)


def served(
    handler: Callable[[SocketStream], Awaitable[None]],
    talk: Callable[[int], Awaitable[None]],
    **options: Any,
) -> ServeSummary:
    """Serve in threads while ``talk(port)`` runs, then stop."""

    async def main() -> ServeSummary:
        stop = anyio.Event()
        summaries: list[ServeSummary] = []

        async def serve(*, task_status: anyio.abc.TaskStatus[object]) -> None:
            summary = await anyio_mio.serve_tcp(
                handler,
                0,
                host="127.0.0.1",
                threads=THREADS,
                stop=stop,
                task_status=task_status,
                **options,
            )
            summaries.append(summary)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                listeners = await group.start(serve)
                await talk(listeners[0].extra(SocketAttribute.local_port))
                stop.set()
        return summaries[0]

    return anyio_mio.run(main)


async def echo(stream: SocketStream) -> None:
    async for data in stream:
        await stream.send(data)


async def clients(port: int, number: int = 60) -> None:
    for _ in range(number):
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(b"x")
            assert await client.receive() == b"x"


@pytest.mark.usefixtures("without_lock")
def test_connections_are_spread_over_threads_and_counted_together() -> None:
    seen: Counter[int] = Counter()

    async def handler(stream: SocketStream) -> None:
        seen[threading.get_ident()] += 1
        await echo(stream)

    summary = served(handler, clients)

    assert summary.accepted == summary.finished == 60
    assert 1 < len(seen) <= THREADS
    assert sum(seen.values()) == 60


@pytest.mark.usefixtures("without_lock")
def test_all_threads_stop_when_the_first_does_and_leave_no_socket() -> None:
    before = threading.active_count()

    async def nothing(port: int) -> None:
        pass

    assert served(echo, nothing).accepted == 0
    assert threading.active_count() <= before + THREADS  # idle worker threads, for ten seconds


@pytest.mark.usefixtures("without_lock")
def test_a_thread_whose_server_fails_ends_the_others() -> None:
    async def fail(stream: SocketStream) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        served(fail, clients, handler_errors="raise")

    assert caught.group_contains(ZeroDivisionError)


@pytest.mark.usefixtures("without_lock")
def test_a_port_that_another_server_has_is_refused() -> None:
    async def main(port: int) -> None:
        await anyio_mio.serve_tcp(echo, port, host="127.0.0.1", threads=THREADS)

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            anyio_mio.run(main, other.getsockname()[1])


@pytest.mark.parametrize(
    "threads, error, words",
    [
        (0, ValueError, "at least 1"),
        ("4", TypeError, "must be an integer"),
        (True, TypeError, "must be an integer"),
        (4, RuntimeError, "free-threaded build"),
    ],
)
def test_what_cannot_serve_is_refused_with_the_right_line(
    monkeypatch: pytest.MonkeyPatch, threads: object, error: type[Exception], words: str
) -> None:
    monkeypatch.setattr(threads_module, "gil_is_enabled", lambda: True)

    with pytest.raises(error, match=words) as caught:
        anyio_mio.run(lambda: anyio_mio.serve_tcp(echo, 0, threads=threads))  # type: ignore[call-overload]

    assert "right:" in str(caught.value)


@pytest.mark.usefixtures("without_lock")
def test_a_platform_that_shares_no_ports_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")

    with pytest.raises(RuntimeError, match="SO_REUSEPORT"):
        anyio_mio.run(lambda: anyio_mio.serve_tcp(echo, 0, threads=2))


@pytest.mark.parametrize("answer, naps", [(True, True), (False, False), (None, True)])
def test_the_kernel_naps_for_a_lock_that_is_there_and_for_no_other(
    monkeypatch: pytest.MonkeyPatch, answer: bool | None, naps: bool
) -> None:
    slept: list[float] = []
    if answer is None:  # before Python 3.13
        monkeypatch.delattr("sys._is_gil_enabled", raising=False)
    else:
        monkeypatch.setattr("sys._is_gil_enabled", lambda: answer, raising=False)
    monkeypatch.setattr("threading.active_count", lambda: 2)
    monkeypatch.setattr(fairness, "sleep", slept.append)

    fairness.OtherThreads().let_run()

    assert bool(slept) is naps
