"""The hub, and what nested pollers can do to it (each of them a fact of some kernel or program)."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

import anyio_mio.trio as mio_trio
from anyio_mio.trio import hub as hub_module
from anyio_mio.trio import nesting
from anyio_mio.trio.hub import Hub, current_hub
from tests.shared.leaks import nothing_left_open
from tests.trio.running import (
    Pair,
    enter_the_nested_set,
    everything_is_blocked,
    run,
    tcp_pair,
    tcp_streams,
)


def names_of_tasks() -> list[str]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    names = []
    pending = [root]
    while pending:
        task = pending.pop()
        names.append(task.name)
        pending += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return names


async def echo_once(pair: Pair) -> None:
    client, server = pair
    await client.send_all(b"x")
    assert await server.receive_some() == b"x"


# Where sockets wait.


def test_few_sockets_stay_on_trios_poller() -> None:
    async def main() -> None:
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(echo_until_the_end, server)
            for _ in range(1000):
                await client.send_all(b"x")
                await client.receive_some()
            await client.send_eof()
        assert current_hub().snapshot().moves == 0

    run(main)


async def echo_until_the_end(stream: mio_trio.SocketStream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)
    await stream.aclose()


def test_many_busy_sockets_move_to_the_nested_set_and_a_few_move_back() -> None:
    async def talk(turns: int) -> None:
        client, server = await tcp_pair()
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(echo_until_the_end, server)
            for _ in range(turns):
                await client.send_all(b"x")
                assert await client.receive_some() == b"x"
            await client.send_eof()

    async def main() -> None:
        hub = current_hub()
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(talk, 60)
        assert hub.snapshot().moves >= 1
        assert hub.snapshot().events
        await talk(300)
        assert hub.snapshot().place == "direct"
        assert hub.snapshot().registrations == 0

    run(main)


@pytest.mark.usefixtures("nested")
def test_a_direction_that_waits_in_the_set_keeps_the_other_one_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Withdrawing the descriptor for a writer would leave its reader waiting for ever."""

    async def main() -> None:
        hub = await enter_the_nested_set()
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(server.receive_some)
            await everything_is_blocked()
            assert hub.snapshot().tasks_waiting == 1
            monkeypatch.setattr(hub_module, "BREAK_EVEN", 10**9)
            await everything_is_blocked()
            assert not hub.is_nested
            nursery.start_soon(server.send_all, bytes(10_000_000))
            await everything_is_blocked()
            assert hub.snapshot().tasks_waiting == 2
            await client.send_all(b"x")
            got = 0
            while got < 10_000_000:
                got += len(await client.receive_some())
        assert hub.snapshot().registrations == 0

    run(main)


# Harvesting.


@pytest.mark.usefixtures("nested")
def test_a_harvest_that_stops_early_loses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "EVENTS_PER_HARVEST", 1)

    async def main() -> None:
        await enter_the_nested_set()
        pairs = [await tcp_pair() for _ in range(10)]
        async with trio.open_nursery() as nursery:
            for _, server in pairs:
                nursery.start_soon(server.receive_some)
            await everything_is_blocked()
            assert current_hub().snapshot().tasks_waiting == len(pairs)
            for client, _ in pairs:
                client._sock.send(b"x")
        for pair in pairs:
            for stream in pair:
                await stream.aclose()

    run(main)


@pytest.mark.usefixtures("nested")
def test_a_socket_that_nobody_reads_does_not_keep_the_run_awake() -> None:
    async def main() -> int:
        await enter_the_nested_set()
        async with tcp_streams() as (client, server):
            with trio.move_on_after(0.01):
                await server.receive_some()
            await client.send_all(b"unread")
            ticks = Ticks()
            trio.lowlevel.add_instrument(ticks)
            await trio.sleep(0.05)
            trio.lowlevel.remove_instrument(ticks)
            return ticks.count

    assert run(main) < 10


class Ticks(trio.abc.Instrument):
    def __init__(self) -> None:
        self.count = 0

    def after_io_wait(self, timeout: float) -> None:
        self.count += 1


@pytest.mark.usefixtures("nested")
def test_woken_tasks_run_in_the_tick_of_their_event() -> None:
    async def main() -> int:
        await enter_the_nested_set()
        ticks = Ticks()
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:

            async def receive() -> int:
                await server.receive_some()
                return ticks.count

            async def note() -> None:
                seen.append(await receive())

            seen: list[int] = []
            nursery.start_soon(note)
            await everything_is_blocked()
            client._sock.send(b"x")
            trio.lowlevel.add_instrument(ticks)
            await everything_is_blocked()
            trio.lowlevel.remove_instrument(ticks)
        return seen[0]

    assert run(main) == 1


@pytest.mark.usefixtures("nested")
def test_without_the_instrument_the_attendant_harvests() -> None:
    async def main() -> None:
        hub = await enter_the_nested_set()
        trio.lowlevel.remove_instrument(hub._harvester)
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(echo_until_the_end, server)
            for _ in range(20):
                await everything_is_blocked()
                await client.send_all(b"x")
                assert await client.receive_some() == b"x"
            assert hub.snapshot().registrations
            await client.send_eof()

    run(main)


# Waiters that go.


@pytest.mark.usefixtures("nested")
def test_an_event_for_a_task_cancelled_in_the_same_tick_wakes_nobody_twice() -> None:
    async def main() -> None:
        await enter_the_nested_set()
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(server.receive_some)
            await everything_is_blocked()
            client._sock.send(b"x")
            nursery.cancel_scope.cancel()
        async with tcp_streams() as pair:  # a task woken twice would have ended the run
            await echo_once(pair)

    run(main)


@pytest.mark.usefixtures("nested")
def test_a_stale_event_for_a_number_used_again_is_at_worst_a_hint() -> None:
    async def main() -> None:
        hub = await enter_the_nested_set()
        client, server = await tcp_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive_some)
            await everything_is_blocked()
            nursery.cancel_scope.cancel()
        number = server._sock.fileno()
        client._sock.send(b"x")
        pairs = hub.poll.select(0, 10)
        assert [fd for fd, _ in pairs] == [number]
        await server.aclose()

        async with tcp_streams() as other, trio.open_nursery() as nursery:
            reused, peer = other if other[0]._sock.fileno() == number else other[::-1]
            assert reused._sock.fileno() == number
            nursery.start_soon(reused.receive_some)
            await everything_is_blocked()
            hub.turn(pairs, *[trio.lowlevel.reschedule] * 2)
            await everything_is_blocked()
            assert hub.snapshot().tasks_waiting == 1
            await peer.send_all(b"y")
        await client.aclose()

    run(main)


def test_a_descriptor_that_a_child_holds_too_leaves_the_set_with_its_socket(
    nested: None,
) -> None:
    async def main() -> None:
        hub = await enter_the_nested_set()
        client, server = await tcp_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive_some)
            await everything_is_blocked()
            held = os.dup(server._sock.fileno())
            _ = server.socket  # whoever takes it may make a duplicate
            nursery.cancel_scope.cancel()
        assert hub.snapshot().registrations == 0
        await server.aclose()
        await client.send_all(b"for nobody")
        await everything_is_blocked()
        assert hub.snapshot().stale_events == 0
        os.close(held)
        await client.aclose()

    run(main)


# The hub and its run.


@pytest.mark.usefixtures("nested")
def test_a_hub_that_closes_sends_its_waiters_to_trios_poller() -> None:
    async def main() -> None:
        hub = await enter_the_nested_set()
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(echo_until_the_end, server)
            await everything_is_blocked()
            assert hub.snapshot().tasks_waiting == 1
            hub._end()
            await everything_is_blocked()
            await client.send_all(b"x")
            assert await client.receive_some() == b"x"
            await client.send_eof()

    run(main)


def test_runs_in_turn_have_a_hub_each_and_leave_nothing_open(nested: None) -> None:
    hubs: list[Hub] = []

    async def main() -> None:
        hubs.append(await enter_the_nested_set())

    run(main)
    with nothing_left_open(after_collecting=True):
        for _ in range(3):
            run(main)
    assert len(set(map(id, hubs))) == 4


def test_a_stream_of_a_run_that_is_over_works_in_the_next_one(nested: None) -> None:
    async def first() -> Pair:
        await enter_the_nested_set()
        return await tcp_pair()

    async def second(pair: Pair) -> None:
        client, server = pair
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(echo_until_the_end, server)
            await everything_is_blocked()
            await client.send_all(b"x")
            assert await client.receive_some() == b"x"
            await client.send_eof()

    run(second, run(first))


def test_runs_in_threads_do_not_disturb_each_other(nested: None) -> None:
    async def talk() -> None:
        await enter_the_nested_set()
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(echo_until_the_end, server)
            for _ in range(200):
                await client.send_all(b"x")
                assert await client.receive_some() == b"x"
            await client.send_eof()
        done.append(True)

    done: list[bool] = []
    threads = [threading.Thread(target=run, args=(talk,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert done == [True] * 4


def test_a_stream_used_by_a_run_in_another_thread_waits_on_that_runs_poller(nested: None) -> None:
    async def main() -> bytes:
        await enter_the_nested_set()
        async with tcp_streams() as (client, server):
            got: list[bytes] = []
            thread = threading.Thread(target=lambda: got.append(run(server.receive_some)))
            thread.start()
            await trio.sleep(0.05)
            await client.send_all(b"x")
            await trio.to_thread.run_sync(thread.join)
            return got[0]

    assert run(main) == b"x"


def test_a_thread_without_a_run_gets_trios_error(nested: None) -> None:
    async def main() -> None:
        async with tcp_streams() as (client, _):

            def use() -> None:
                with pytest.raises(RuntimeError, match="must be called from async context"):
                    client.send_all(b"x").send(None)
                with pytest.raises(RuntimeError):
                    current_hub()

            await trio.to_thread.run_sync(use)

    run(main)


def test_another_run_does_not_close_what_a_task_of_this_one_waits_for(nested: None) -> None:
    async def main() -> None:
        await enter_the_nested_set()
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(server.receive_some)
            await everything_is_blocked()

            def close() -> None:
                with pytest.raises(RuntimeError, match="another trio"):
                    run(server.aclose)

            await trio.to_thread.run_sync(close)
            await client.send_all(b"x")

    run(main)


def is_ctrl_c(error: BaseException) -> bool:
    group = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    return any(isinstance(one, KeyboardInterrupt) for one in group)


@pytest.mark.invariant("T4")
@pytest.mark.parametrize("ending", ["return", "error", "ctrl-c"])
def test_a_run_leaves_no_descriptor_task_or_instrument(nested: None, ending: str) -> None:
    hubs: list[Hub] = []

    async def main() -> None:
        hubs.append(await enter_the_nested_set())
        pair = await tcp_pair()
        async with pair[0], pair[1], trio.open_nursery() as nursery:
            nursery.start_soon(pair[1].receive_some)
            await everything_is_blocked()
            if ending == "error":
                raise ZeroDivisionError
            if ending == "ctrl-c":
                signal.raise_signal(signal.SIGINT)
            nursery.cancel_scope.cancel()

    run(everything_is_blocked)  # what a process opens once is open now
    run(enter_the_nested_set)
    with nothing_left_open(after_collecting=True), contextlib.ExitStack() as stack:
        if ending == "error":
            stack.enter_context(pytest.RaisesGroup(ZeroDivisionError))
        if ending == "ctrl-c":
            stack.enter_context(pytest.raises(BaseException, check=is_ctrl_c))
        run(main)
    assert hubs[0].is_closed
    with pytest.raises(ValueError, match="closed"):
        hubs[0].poll.fileno()


@pytest.mark.usefixtures("nested")
def test_a_run_has_one_attendant_and_one_instrument() -> None:
    async def main() -> None:
        await enter_the_nested_set()
        current_hub()
        assert sum("attendant" in name for name in names_of_tasks()) == 1

    run(main)


@pytest.mark.usefixtures("nested")
def test_sockets_still_work_while_async_generators_are_finalized() -> None:
    """The system tasks are gone by then, and with them the hub."""
    got: list[bytes] = []

    async def left_behind() -> AsyncIterator[None]:
        client, server = await tcp_pair()
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await client.send_all(b"x")
                got.append(await server.receive_some())
            client._close()
            server._close()

    async def main() -> None:
        await enter_the_nested_set()
        generator = left_behind()
        await anext(generator)
        kept.append(generator)

    kept: list[object] = []
    run(main)
    assert got == [b"x"]


def test_a_first_use_while_the_run_ends_waits_on_trios_poller() -> None:
    got: list[bytes] = []

    async def left_behind() -> AsyncIterator[None]:
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
                    nursery.start_soon(client.send_all, b"x")
                    got.append(await server.receive_some())

    async def main() -> None:
        generator = left_behind()
        await anext(generator)
        kept.append(generator)

    kept: list[object] = []
    run(main)
    assert got == [b"x"]


# Systems on which it does not work.


def test_pollers_nest_here() -> None:
    assert nesting.poller_nests()


@pytest.mark.usefixtures("nested")
def test_sockets_stay_on_trios_poller_where_pollers_do_not_nest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "poller_nests", lambda: False)

    async def main() -> None:
        for _ in range(3):
            async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
                nursery.start_soon(server.receive_some)
                await everything_is_blocked()
                await client.send_all(b"x")
        assert current_hub().snapshot().place == "direct"

    run(main)


def test_a_poller_that_loses_the_second_edge_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = nesting._edge_arrives
    calls = iter([True, False])
    monkeypatch.setattr(nesting, "_edge_arrives", lambda *a: original(*a) and next(calls))
    nesting.poller_nests.cache_clear()
    try:
        assert not nesting.poller_nests()
    finally:
        nesting.poller_nests.cache_clear()


@pytest.mark.usefixtures("nested")
def test_sockets_stay_on_trios_poller_while_there_is_no_descriptor_for_a_set() -> None:
    async def main() -> None:
        hub = current_hub()
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            with no_descriptor_left():
                hub.nest()
                assert not hub.is_nested
            nursery.start_soon(server.receive_some)
            await everything_is_blocked()
            await client.send_all(b"x")
        hub.nest()
        assert hub.is_nested

    nesting.poller_nests()
    run(main)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
    holes = []
    try:
        with contextlib.suppress(OSError):
            while True:
                holes.append(os.dup(0))
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            os.dup(0)
        yield
    finally:
        for hole in holes:
            os.close(hole)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.usefixtures("nested")
def test_a_forked_child_is_told_so_and_takes_no_edge_of_its_parent() -> None:
    async def main() -> int:
        await enter_the_nested_set()
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(server.receive_some)
            await everything_is_blocked()
            child = os.fork()
            if child == 0:
                os._exit(what_a_child_sees(client))
            await client.send_all(b"x")
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])  # noqa: ASYNC222

    assert run(main) == 0


def what_a_child_sees(stream: mio_trio.SocketStream) -> int:
    stream._registration.has_yielded = True
    try:
        stream._registration.wait_readable().send(None)
    except RuntimeError as error:
        return 0 if "forked" in str(error) else 2
    return 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.usefixtures("nested")
def test_closing_after_a_fork_takes_the_socket_out_of_the_set() -> None:
    async def main() -> None:
        hub = await enter_the_nested_set()
        client, server = await tcp_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive_some)
            await everything_is_blocked()
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            nursery.cancel_scope.cancel()
        await server.aclose()
        await client.send_all(b"the child's socket gets this")
        await everything_is_blocked()
        assert hub.snapshot().stale_events == 0
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)  # noqa: ASYNC222 - it is ending
        await client.aclose()

    run(main)


# Other ways to run Trio.


@pytest.mark.usefixtures("nested")
def test_the_clock_jumps_while_tasks_wait_in_the_set() -> None:
    async def main() -> float:
        await enter_the_nested_set()
        async with tcp_streams() as (_, server):
            with trio.move_on_after(5):
                await server.receive_some()
        return trio.current_time()

    clock = trio.testing.MockClock(autojump_threshold=0.01)
    assert trio.run(main, clock=clock) == pytest.approx(5, abs=0.1)


@pytest.mark.usefixtures("nested")
def test_guest_mode_works() -> None:
    import queue

    todo: queue.SimpleQueue[object] = queue.SimpleQueue()
    outcomes: list[object] = []

    async def main() -> str:
        await enter_the_nested_set()
        async with tcp_streams() as (client, server), trio.open_nursery() as nursery:
            nursery.start_soon(echo_until_the_end, server)
            for _ in range(20):
                await client.send_all(b"x")
                assert await client.receive_some() == b"x"
                await trio.sleep(0.001)
            await client.send_eof()
        return "done"

    trio.lowlevel.start_guest_run(
        main, run_sync_soon_threadsafe=todo.put, done_callback=outcomes.append
    )
    while not outcomes:
        todo.get(timeout=10)()  # type: ignore[operator]
    assert outcomes[0].unwrap() == "done"  # type: ignore[attr-defined]
