"""What cannot work is refused with an error that shows the right line, and nothing hangs (A5)."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute

import anyio_mio
from anyio_mio.asyncio import new_event_loop
from tests.asyncio.threads import until_it_sleeps

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("A5")]


async def nothing() -> None:
    await asyncio.sleep(0)


async def test_run_forever_inside_a_run() -> None:
    with pytest.raises(RuntimeError, match="right: await anyio"):
        asyncio.get_running_loop().run_forever()


async def test_run_until_complete_inside_a_run() -> None:
    with pytest.raises(RuntimeError, match="right: await the coroutine"):
        asyncio.get_running_loop().run_until_complete(nothing())


async def test_stop_inside_a_run() -> None:
    with pytest.raises(RuntimeError, match="right: cancel a scope"):
        asyncio.get_running_loop().stop()


async def test_close_inside_a_run() -> None:
    with pytest.raises(RuntimeError, match="at the end of the run"):
        asyncio.get_running_loop().close()


async def test_asyncio_run_inside_a_run() -> None:
    coro = nothing()
    with pytest.raises(RuntimeError, match="running event loop"):
        asyncio.run(coro)
    coro.close()


async def test_another_loop_inside_a_run() -> None:
    coro, loop = nothing(), asyncio.new_event_loop()
    try:
        with pytest.raises(RuntimeError, match="another loop is running"):
            loop.run_until_complete(coro)
    finally:
        coro.close()
        loop.close()


async def test_anyio_run_inside_a_task_of_asyncio() -> None:
    async def nested() -> None:
        anyio_mio.run(nothing)

    with pytest.raises(RuntimeError, match="Already running"):
        await asyncio.create_task(nested())


async def test_a_future_of_another_loop() -> None:
    loop = asyncio.SelectorEventLoop()
    try:
        with pytest.raises((TypeError, RuntimeError), match="inside the run"):
            await loop.create_future()
        await asyncio.sleep(0.001)
        with pytest.raises(RuntimeError, match="get_running_loop"):
            await loop.create_future()
    finally:
        loop.close()


@pytest.mark.parametrize(
    "wait",
    [
        lambda: anyio.Event().wait(),
        lambda: anyio.sleep(1),
        lambda: anyio.lowlevel.checkpoint(),
    ],
    ids=["event", "sleep", "checkpoint"],
)
async def test_anyios_functions_in_a_task_of_asyncio_are_asyncios(wait: Any) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.create_task(forever(wait)), 0.02)


async def forever(wait: Any) -> None:
    while True:
        await wait()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("kind", ["event", "lock", "semaphore", "limiter", "condition"])
async def test_waiting_for_something_of_mios_in_a_task_of_asyncio(kind: str) -> None:
    """A refused wait leaves nothing behind: the object works on in a task of mio."""
    lock, semaphore = anyio.Lock(), anyio.Semaphore(1)
    limiter, condition = anyio.CapacityLimiter(1), anyio.Condition()
    event = anyio.Event()
    waits: dict[str, Any] = {
        "event": event.wait,
        "lock": lock.acquire,
        "semaphore": semaphore.acquire,
        "limiter": limiter.acquire,
        "condition": condition.acquire,
    }
    async with lock, semaphore, limiter, condition:
        with pytest.raises(RuntimeError, match="run_in_task") as caught:
            await asyncio.create_task(waits[kind]())
    assert "asyncio" in str(caught.value)

    async with anyio.create_task_group() as group:
        group.start_soon(event.wait)
        async with lock, semaphore, limiter, condition:
            event.set()


async def test_a_stream_of_mios_in_a_task_of_asyncio() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, await anyio.connect_tcp("127.0.0.1", port) as stream:
        with pytest.raises(RuntimeError, match="run_in_task"):
            await asyncio.create_task(stream.receive())
        with pytest.raises(RuntimeError, match="run_in_task"):
            await asyncio.create_task(stream.send(b"x"))
        with anyio.move_on_after(0.01):
            await stream.receive()


async def test_a_memory_stream_joins_both_worlds() -> None:
    send, receive = anyio.create_memory_object_stream[int](0)
    async with send, receive:
        task = asyncio.create_task(receive.receive())
        await send.send(1)
        assert await task == 1
        task = asyncio.create_task(send.send(2))  # type: ignore[arg-type]
        assert await receive.receive() == 2
        await task


async def test_a_task_group_of_mio_in_a_task_of_asyncio() -> None:
    async def body() -> None:
        async with group:
            pass

    group = anyio.create_task_group()
    with pytest.raises(RuntimeError):
        await asyncio.create_task(body())


async def test_a_descriptor_of_a_stream_is_not_given_to_asyncio() -> None:
    loop = asyncio.get_running_loop()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, await anyio.connect_tcp("127.0.0.1", port) as stream:
        raw = stream.extra(SocketAttribute.raw_socket)
        with anyio.move_on_after(0.01):
            await stream.receive()
        with pytest.raises(RuntimeError, match=r"os\.dup"):
            loop.add_reader(raw, print)
        with pytest.raises(RuntimeError, match=r"os\.dup"):
            loop.add_writer(raw, print)


async def test_a_descriptor_that_a_task_waits_for_is_not_given_to_asyncio() -> None:
    loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        async with anyio.create_task_group() as group:
            group.start_soon(wait_readable, ours)
            await anyio.sleep(0.01)
            with pytest.raises(RuntimeError, match=r"os\.dup"):
                loop.add_reader(ours, print)
            theirs.send(b"x")
        called = anyio.Event()
        loop.add_reader(ours, called.set)  # no task waits any more
        await called.wait()
        loop.remove_reader(ours)


async def test_a_descriptor_of_asyncios_can_still_be_waited_for_by_a_task() -> None:
    loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        called = anyio.Event()
        loop.add_reader(ours, called.set)
        async with anyio.create_task_group() as group:
            group.start_soon(wait_readable, ours)
            await anyio.sleep(0.01)
            theirs.send(b"x")
            await called.wait()
        loop.remove_reader(ours)


async def test_a_descriptor_of_asyncios_is_not_given_to_a_stream() -> None:
    loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
    ours.setblocking(False)
    with theirs:
        loop.add_reader(ours, print)
        stream = await anyio.abc.SocketStream.from_socket(ours)
        with pytest.raises(anyio.BusyResourceError):
            await stream.receive()
        loop.remove_reader(ours)
        theirs.send(b"x")
        assert await stream.receive() == b"x"
        await stream.aclose()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="only epoll refuses regular files")
async def test_a_regular_file_is_refused(tmp_path: Any) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(PermissionError):
        asyncio.get_running_loop().add_reader(file, print)


async def test_a_closed_descriptor_is_refused() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()

    with pytest.raises(ValueError, match="Invalid file"):
        asyncio.get_running_loop().add_reader(ours, print)


async def test_a_number_that_its_owner_closed_without_a_word_can_be_used_again() -> None:
    loop, done = asyncio.get_running_loop(), anyio.Event()
    ours, theirs = socket.socketpair()
    loop.add_reader(ours, print)
    number = ours.fileno()
    ours.close()
    theirs.close()
    again, other = socket.socketpair()
    assert number in (again.fileno(), other.fileno())
    with again, other:
        first, second = (again, other) if again.fileno() == number else (other, again)
        loop.remove_reader(number)
        loop.add_reader(first, done.set)
        second.send(b"x")
        await done.wait()
        loop.remove_reader(first)


async def test_calls_from_another_thread() -> None:
    loop, errors = asyncio.get_running_loop(), list[str]()
    loop.get_debug()
    calls: list[Callable[[], object]] = [
        lambda: loop.call_soon(print),
        lambda: loop.call_later(0, print),
        lambda: loop.call_at(loop.time(), print),
    ]

    def work() -> None:
        for call in calls:
            until_it_sleeps(loop)
            try:
                call()
            except RuntimeError as error:
                errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        await anyio.sleep(0.1)

    assert len(errors) == 3
    assert all("another thread" in each and "call_soon_threadsafe" in each for each in errors)


SETS: Final[dict[str, tuple[Callable[[Any], object], Callable[[Any], Awaitable[object]]]]] = {
    "future": (lambda future: future.set_result(True), lambda future: future),
    "event": (lambda event: event.set(), lambda event: event.wait()),
    "queue": (lambda queue: queue.put_nowait(1), lambda queue: queue.get()),
    "gather": (
        lambda future: future.set_result(True),
        lambda future: asyncio.gather(future, asyncio.shield(future)),
    ),
}


@pytest.mark.parametrize("in_task", [False, True], ids=["task of mio", "task of asyncio"])
@pytest.mark.parametrize("kind", SETS)
async def test_what_another_thread_sets_wakes_all_that_wait_and_is_reported(
    kind: str, in_task: bool
) -> None:
    """A future that is done has forgotten its callbacks: a refusal would leave tasks waiting."""
    loop, reports = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    makers: dict[str, Callable[[], Any]] = {"event": asyncio.Event, "queue": asyncio.Queue}
    target = makers[kind]() if kind in makers else loop.create_future()
    set_it, wait = SETS[kind]

    def work() -> None:
        until_it_sleeps(loop)
        set_it(target)

    async def wait_for_it() -> None:
        await wait(target)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with anyio.fail_after(5):
            await (asyncio.create_task(wait_for_it()) if in_task else wait_for_it())
            while not reports:
                await asyncio.sleep(0.001)
    finally:
        thread.join()

    assert len(reports) == 1
    assert "right: loop.call_soon_threadsafe" in reports[0]
    assert ", in work" in reports[0]


async def wait_readable(sock: socket.socket) -> None:
    await anyio.wait_readable(sock)


async def test_the_loop_of_a_run_in_another_thread_is_not_that_threads() -> None:
    def work() -> None:
        asyncio.get_running_loop()

    with pytest.raises(RuntimeError, match="no running event loop"):
        await asyncio.to_thread(work)


def test_after_the_run() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)

    anyio_mio.run(main)
    loop = loops[0]

    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(RuntimeError, match="make them anew"):
            call(print)
    with pytest.raises(RuntimeError, match="make them anew"):
        loop.call_later(1, print)
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_in_a_forked_child() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads
            child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])  # noqa: ASYNC222 - it ends at once
        status = 1
        try:
            loop.call_soon(print)
        except RuntimeError as error:
            status = 0 if "forked" in str(error) else 2
        finally:
            os._exit(status)

    assert anyio_mio.run(main) == 0


def test_outside_a_run_nothing_changes() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    loop = asyncio.new_event_loop()
    loop.close()

    assert type(loop).__module__.startswith("asyncio")


def test_an_unknown_option_of_the_loop() -> None:
    with pytest.raises(TypeError, match="selector"):
        new_event_loop(selektor="level")


@pytest.mark.parametrize("selector", ["level", None])
def test_the_loop_takes_the_options_of_the_backend(selector: str | None) -> None:
    options = {} if selector is None else {"selector": selector}

    async def main() -> str:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        await process.wait()
        return "value"

    with asyncio.Runner(loop_factory=lambda: new_event_loop(**options)) as runner:
        assert runner.run(main()) == "value"


async def test_a_loop_that_is_run_inside_itself_as_nest_asyncio_does() -> None:
    loop: Any = asyncio.get_running_loop()
    with pytest.raises(NotImplementedError, match="right: await main"):
        loop._selector.select(None)
