"""The turn and the run queue: who runs next, and that nobody keeps the others from it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
import anyio.lowlevel
import pytest

import anyio_mio
from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.cancelled import Cancelled
from anyio_mio._kernel.fairness import BUDGET
from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio.lowlevel import Instrument
from anyio_mio.poll._sys.bits import READABLE
from anyio_mio.testing import ScriptedSelector
from tests.kernel.harness import Box, Group, HandClock, make_kernel, run


@pytest.mark.invariant("K1")
def test_a_task_is_in_one_state_at_a_time() -> None:
    states: list[tuple[str, str]] = []

    async def child(kernel: Kernel, box: Box) -> None:
        task = kernel.current
        assert task is not None
        states.append(("inside", task.state))
        await box.wait()

    async def main(kernel: Kernel) -> None:
        box = Box(kernel)
        async with Group(kernel) as group:
            task = group.spawn(child(kernel, box))
            states.append(("spawned", task.state))
            await kernel.sleep(1)
            states.append(("waiting", task.state))
            box.wake()
            states.append(("woken", task.state))
        states.append(("over", task.state))

    run(main)

    assert states == [
        ("spawned", "runnable"),
        ("inside", "running"),
        ("waiting", "parked"),
        ("woken", "runnable"),
        ("over", "done"),
    ]


@pytest.mark.invariant("K2")
def test_tasks_run_in_the_order_of_their_wake_ups() -> None:
    log: list[int] = []

    async def child(kernel: Kernel, box: Box, number: int) -> None:
        await box.wait()
        log.append(number)

    async def main(kernel: Kernel) -> None:
        boxes = [Box(kernel) for _ in range(4)]
        async with Group(kernel) as group:
            for number, box in enumerate(boxes):
                group.spawn(child(kernel, box, number))
            await kernel.sleep(1)
            for number in (2, 0, 3, 1):
                boxes[number].wake()

    run(main)

    assert log == [2, 0, 3, 1]


@pytest.mark.invariant("K2")
def test_all_that_was_runnable_runs_in_one_turn() -> None:
    log: list[int] = []
    polls: list[int] = []
    count = 200

    async def child(number: int) -> None:
        log.append(number)

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            for number in range(count):
                group.spawn(child(number))
            polls.clear()

    run(main, make_kernel(ScriptedSelector(on_wait=lambda _: polls.append(len(log)))))

    assert log == list(range(count))
    # What was spawned during a turn may begin in it; from its next turn on, all of it runs.
    assert len([n for n in polls if 0 < n < count]) <= 1


class Greedy:
    """Ways to keep the CPU; each ends when it is told to."""

    def __init__(self) -> None:
        self.is_over = False

    async def checkpoints(self) -> None:
        while not self.is_over:
            await anyio.lowlevel.checkpoint()

    async def events(self) -> None:
        event = anyio.Event()
        event.set()
        while not self.is_over:
            await event.wait()

    async def locks(self) -> None:
        lock = anyio.Lock()
        while not self.is_over:
            async with lock:
                pass

    async def ready_socket(self) -> None:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        async with (
            await anyio.abc.UNIXSocketStream.from_socket(ours) as one,
            await anyio.abc.UNIXSocketStream.from_socket(peer) as other,
        ):
            while not self.is_over:
                await one.send(b"x")
                await other.receive()

    async def memory_stream(self) -> None:
        send, receive = anyio.create_memory_object_stream[int](1)
        with send, receive:
            while not self.is_over:
                await send.send(1)
                await receive.receive()


async def timers() -> None:
    for _ in range(3):
        await anyio.sleep(0.001)


async def threads() -> None:
    for _ in range(3):
        await anyio.to_thread.run_sync(int)


async def entries() -> None:
    kernel, event = running_kernel(), anyio.Event()
    threading.Thread(target=kernel.entry.put, args=(event.set,)).start()
    await event.wait()


async def sockets() -> None:
    ours, peer = socket.socketpair()
    with peer:
        async with await anyio.abc.UNIXSocketStream.from_socket(ours) as stream:
            timer = threading.Timer(0.002, peer.send, (b"x",))
            timer.start()
            await stream.receive()
            timer.join()


async def other_tasks() -> None:
    for _ in range(3):
        await anyio.lowlevel.checkpoint()


@pytest.mark.invariant("K3")
@pytest.mark.parametrize("greedy", [n for n in vars(Greedy) if not n.startswith("_")])
@pytest.mark.parametrize(
    "patient", [timers, threads, entries, sockets, other_tasks], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("checkpoints", ["budget", "strict"])
def test_no_task_keeps_the_others_from_their_progress(
    greedy: str, patient: Callable[[], Awaitable[None]], checkpoints: Literal["budget", "strict"]
) -> None:
    # Threads took seconds: a kernel that never pauses freed the interpreter for too short moments.
    async def main() -> None:
        hog = Greedy()
        async with anyio.create_task_group() as group:
            group.start_soon(getattr(hog, greedy))
            with anyio.fail_after(5):
                await patient()
            hog.is_over = True

    anyio_mio.run(main, checkpoints=checkpoints)


@pytest.mark.invariant("K7")
def test_alone_a_task_yields_only_when_its_budget_is_spent() -> None:
    steps: list[object] = []

    class Counter(Instrument):
        def before_step(self, task: object) -> None:
            steps.append(task)

    async def main() -> None:
        await anyio.sleep(0.001)
        steps.clear()
        for _ in range(BUDGET):
            await anyio.lowlevel.checkpoint()
        assert len(steps) == 0
        await anyio.lowlevel.checkpoint()
        assert len(steps) == 1

    anyio_mio.run(main, instruments=[Counter()])


def test_strict_checkpoints_always_yield() -> None:
    steps: list[object] = []

    class Counter(Instrument):
        def before_step(self, task: object) -> None:
            steps.append(task)

    async def main() -> None:
        await anyio.sleep(0.001)
        steps.clear()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert len(steps) == 5

    anyio_mio.run(main, checkpoints="strict", instruments=[Counter()])


@pytest.mark.invariant("K5")
def test_what_takes_a_task_out_of_its_queue_resumes_it_and_nothing_else_does() -> None:
    log: list[str] = []

    async def child(kernel: Kernel, box: Box) -> None:
        await box.wait()
        log.append("first")
        await box.wait()
        log.append("second")

    async def main(kernel: Kernel) -> None:
        box = Box(kernel)
        async with Group(kernel) as group:
            task = group.spawn(child(kernel, box))
            await kernel.sleep(1)
            box.wake()
            assert box.abort(task) is False
            with pytest.raises(IndexError):
                box.wake()
            await kernel.sleep(1)
            assert log == ["first"]
            box.wake()

    run(main)

    assert log == ["first", "second"]


@pytest.mark.invariant("K6")
def test_a_wake_up_beats_a_later_cancel() -> None:
    log: list[str] = []

    async def child(kernel: Kernel, box: Box) -> None:
        await box.wait()
        log.append("got it")
        await kernel.checkpoint()
        log.append("never")

    async def main(kernel: Kernel) -> None:
        box = Box(kernel)
        async with Group(kernel) as group:
            group.spawn(child(kernel, box))
            await kernel.sleep(1)
            box.wake()
            group.scope.cancel()

    run(main)

    assert log == ["got it"]


@pytest.mark.invariant("K6")
def test_a_cancel_beats_a_later_wake_up() -> None:
    async def child(box: Box) -> None:
        await box.wait()
        raise AssertionError

    async def main(kernel: Kernel) -> None:
        box = Box(kernel)
        async with Group(kernel) as group:
            group.spawn(child(box))
            await kernel.sleep(1)
            group.scope.cancel()
            assert box.waiting == []  # it was taken out at once, so a release finds the next

    run(main)


@pytest.mark.invariant("K6")
def test_a_task_that_is_cancelled_before_it_began_runs_to_its_first_checkpoint() -> None:
    log: list[str] = []

    async def child(kernel: Kernel) -> None:
        log.append("began")
        await kernel.checkpoint()
        log.append("never")

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            group.spawn(child(kernel))
            group.scope.cancel()

    run(main)

    assert log == ["began"]


@pytest.mark.invariant("K6")
def test_cancellation_comes_again_at_each_checkpoint() -> None:
    count = 0

    async def main(kernel: Kernel) -> None:
        nonlocal count
        with CancelScope() as scope:
            scope.cancel()
            for wait in (kernel.checkpoint, lambda: kernel.sleep(1), lambda: kernel.sleep(0)):
                with pytest.raises(Cancelled):
                    await wait()
                count += 1

    run(main)

    assert count == 3


def test_who_swallows_cancellation_does_not_keep_the_others_from_running() -> None:
    log: list[str] = []

    async def stubborn(kernel: Kernel) -> None:
        while not log:
            with pytest.raises(Cancelled):
                await kernel.checkpoint_if_cancelled()

    async def other(kernel: Kernel) -> None:
        with CancelScope(shield=True):
            await kernel.checkpoint()
            log.append("ran")

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            group.spawn(stubborn(kernel))
            group.spawn(other(kernel))
            group.scope.cancel()

    run(main)

    assert log == ["ran"]


@pytest.mark.invariant("K8")
def test_a_callback_may_cancel_and_wake() -> None:
    log: list[str] = []

    async def main(kernel: Kernel) -> None:
        box = Box(kernel)
        with CancelScope() as scope:
            kernel.entry.put(lambda: scope.cancel("by a callback"))
            try:
                await box.wait()
            except Cancelled as error:
                log.append(str(error))
                raise
        kernel.entry.put(box.wake)
        await box.wait()
        log.append("woken")

    run(main)

    assert log == ["cancelled by a callback: by a callback", "woken"]


def test_a_deadline_does_not_pass_while_the_poll_returns_early() -> None:
    # Native waits may be a little short; nothing expires before its time.
    clock = HandClock()

    async def main(kernel: Kernel) -> float:
        await kernel.sleep(1)
        return kernel.now()

    def early(timeout: float | None) -> None:
        if timeout:
            clock.time += timeout / 2

    kernel = make_kernel(ScriptedSelector(on_wait=early), clock=clock)
    kernel._quiet = None

    run_until = 1 - 2**-20  # halves come near it and never past it: give the clock a last push

    def nearly(timeout: float | None) -> None:
        early(timeout)
        if clock.time > run_until:
            clock.time = 1

    kernel.reactor.poll._selector.on_wait = nearly  # type: ignore[attr-defined]
    assert run(main, kernel) == 1


def test_events_wake_who_waits_and_are_counted() -> None:
    log: list[str] = []

    async def main(kernel: Kernel) -> None:
        registration = kernel.reactor.register(50)
        registration.ready = 0
        await registration.wait_readable()
        log.append("readable")
        registration.close()

    selector = ScriptedSelector([[], [(50, READABLE)]])
    kernel = make_kernel(selector)
    run(main, kernel)

    assert log == ["readable"]
    assert kernel.reactor.statistics().events >= 1


class BrokenIn(Instrument):
    """An instrument that fails in one of its hooks."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.hook:
            raise KeyError(name)

    def task_spawned(self, task: object) -> None:
        self._call("task_spawned")

    def before_step(self, task: object) -> None:
        self._call("before_step")

    def after_step(self, task: object) -> None:
        self._call("after_step")

    def after_poll(self, events: int) -> None:
        self._call("after_poll")


class TestInstruments:
    def test_they_see_each_step(self) -> None:
        seen: list[tuple[str, object]] = []

        class Watcher(Instrument):
            def task_spawned(self, task: object) -> None:
                seen.append(("spawned", getattr(task, "name", None)))

            def before_step(self, task: object) -> None:
                seen.append(("before", getattr(task, "name", None)))

            def after_step(self, task: object) -> None:
                seen.append(("after", getattr(task, "name", None)))

            def after_poll(self, events: int) -> None:
                seen.append(("poll", events))

        async def main() -> None:
            pass

        anyio_mio.run(main, instruments=[Watcher()])

        name = f"{__name__}.{main.__qualname__}"
        assert seen[:4] == [("spawned", name), ("poll", 0), ("before", name), ("after", name)]

    def test_one_that_fails_is_removed_and_the_run_goes_on(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(Instrument):
            def before_step(self, task: object) -> None:
                raise KeyError("broken instrument")

        async def main() -> str:
            await anyio.sleep(0.001)
            return "went on"

        assert anyio_mio.run(main, instruments=[Broken()]) == "went on"

        assert caplog.text.count("broken instrument") >= 1

    @pytest.mark.parametrize("hook", ["task_spawned", "before_step", "after_step", "after_poll"])
    def test_one_that_fails_in_a_hook_is_called_in_none_from_then_on(self, hook: str) -> None:
        broken = BrokenIn(hook)

        async def main() -> None:
            for _ in range(3):
                await anyio.sleep(0.001)

        anyio_mio.run(main, instruments=[broken])

        assert broken.calls.count(hook) == 1
        assert broken.calls[-1] == hook
