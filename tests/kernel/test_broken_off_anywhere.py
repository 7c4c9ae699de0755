"""What a signal's handler raises inside the end of a task loses neither the end nor the error.

CPython calls handlers of signals after calls of functions in C, at the start of functions in Python
and at jumps backwards. A trace function raises at these places, one after the other, in the
functions that settle the end of a task; and in those that cancel, start, step and wake tasks and
enter and leave scopes, where no wake-up may be lost and no other error be raised.
"""

from __future__ import annotations

import dis
import gc
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import CodeType, FrameType
from typing import Any

import anyio
import anyio.abc
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import sniffio

import anyio_mio
from anyio_mio._backend.anyio_internals import HandledTask
from anyio_mio._backend.capacity_limiter import CapacityLimiter
from anyio_mio._backend.detection import Detection
from anyio_mio._backend.synchronization import Event, Lock, Semaphore, give_way
from anyio_mio._backend.threads import Call, ThreadResult
from anyio_mio._kernel import cancel_scope
from anyio_mio._kernel.async_generators import AsyncGenerators
from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.cancelled import Cancelled
from anyio_mio._kernel.deadlines import Deadlines
from anyio_mio._kernel.entry import EntryQueue
from anyio_mio._kernel.idle import IdleWaiters
from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio._kernel.outcome import Outcome
from anyio_mio._kernel.running import Presence, running
from anyio_mio._kernel.starting import Starting
from anyio_mio._kernel.task import Task
from anyio_mio._kernel.task_group import TaskGroup
from anyio_mio._kernel.worker_threads import Job
from anyio_mio._reactor.foreign import ForeignWait, ForeignWaits
from anyio_mio._reactor.reactor import Internal, Reactor
from anyio_mio._reactor.registration import Registration
from anyio_mio.poll._sys.epoll import EpollSelector

pytestmark = [
    pytest.mark.invariant("K4"),
    pytest.mark.timeout(20),
    pytest.mark.skipif(
        sys.implementation.name != "cpython" or sys.version_info >= (3, 12),
        reason="knows where CPython 3.11 calls handlers of signals",
    ),
]

CHECKED = {"CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD"}
"""Instructions after which CPython 3.11 calls handlers, besides the start of a function."""

ENDS: set[CodeType] = {
    function.__code__
    for function in (
        *(Kernel.finish, Task.finish, HandledTask.finish, Outcome.task_done),
        *(TaskGroup.task_done, TaskGroup.wake_host_if_done),
    )
}


BEGINNINGS: set[CodeType] = {
    function.__code__
    for function in (
        *(Kernel.start, Starting.run, Starting.started, Starting._hand_over),
        Starting._hand_over_unless_cancelled,
    )
}
CANCELLATIONS: set[CodeType] = {
    function.__code__
    for function in (
        *(CancelScope.cancel, CancelScope._cancel, Task.interrupt),
        *(cancel_scope.push_down, cancel_scope._refresh, cancel_scope._refresh_stack),
    )
}


STEPS: set[CodeType] = {Kernel.step_code}


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Have a coroutine that never ran reported here, and not in another test."""
    yield
    gc.collect()


class TimeLimitError(BaseException):
    pass


class Interrupter:
    """Raises at one place of these functions, called for tasks of this name; counts the places."""

    def __init__(self, name: str, place: int, codes: set[CodeType]) -> None:
        self.name = name
        self.codes = codes
        self.place = place
        self.seen = 0
        self.before: dict[FrameType, int] = {}

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_back is not None:  # a call of a function of Python is followed by no check
            self.before.pop(frame.f_back, None)
        if running.kernel is None or frame.f_code not in self.codes:
            return None
        if self.name not in ("", self.current_task()):
            return None
        if begins(frame):
            self.pass_place()
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self.trace_instructions

    def trace_instructions(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode":
            code = frame.f_code.co_code
            before, self.before[frame] = self.before.get(frame), frame.f_lasti
            if before is not None and dis.opname[code[before]] in CHECKED:
                self.pass_place()
        return self.trace_instructions

    def pass_place(self) -> None:
        self.seen += 1
        if self.seen == self.place:
            raise TimeLimitError

    def current_task(self) -> str | None:
        kernel: Any = running.kernel
        task: Any = None if kernel is None else kernel.current
        return None if task is None else task.name


def begins(frame: FrameType) -> bool:
    """Return whether a function begins: when a coroutine goes on, no handler is called."""
    code = frame.f_code.co_code
    at = max(frame.f_lasti, 0)
    return dis.opname[code[at]] != "RESUME" or code[at + 1] < 2


@contextmanager
def interrupted(name: str, place: int, codes: set[CodeType]) -> Iterator[Interrupter]:
    interrupter = Interrupter(name, place, codes)
    before = sys.gettrace()
    sys.settrace(interrupter.trace)
    try:
        yield interrupter
    finally:
        sys.settrace(before)
        interrupter.before.clear()


Program = Callable[[list[str]], Coroutine[Any, Any, object]]


async def wait_for_child(log: list[str]) -> None:
    async def child() -> None:
        await anyio.lowlevel.checkpoint()
        log.append("child")

    async with anyio.create_task_group() as group:
        group.start_soon(child, name="ends")
    await anyio.lowlevel.checkpoint()


async def wait_for_failing_child(log: list[str]) -> None:
    async def child() -> None:
        await anyio.lowlevel.checkpoint()
        log.append("child")
        raise LookupError("of the child")

    async with anyio.create_task_group() as group:
        group.start_soon(child, name="ends")
    await anyio.lowlevel.checkpoint()


async def wait_for_cancelled_child(log: list[str]) -> None:
    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("child")

    async with anyio.create_task_group() as group:
        group.start_soon(child, name="ends")
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    await anyio.lowlevel.checkpoint()


async def wait_for_child_that_starts(log: list[str]) -> None:
    async def child(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await anyio.lowlevel.checkpoint()
        log.append("child")
        raise LookupError("of the child")

    async with anyio.create_task_group() as group:
        await group.start(child, name="ends")


def errors_of(error: BaseException) -> list[type[BaseException]]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in errors_of(each)]
    context = error.__context__ if isinstance(error, (TimeLimitError, RuntimeError)) else None
    return [type(error), *(errors_of(context) if context is not None else [])]


def run(
    program: Program, place: int, name: str = "ends", codes: set[CodeType] = ENDS
) -> tuple[int, list[str], list[type[BaseException]]]:
    log: list[str] = []
    with interrupted(name, place, codes) as interrupter:
        try:
            anyio_mio.run(program, log)
        except BaseException as error:  # noqa: BLE001 - any end of the program
            return interrupter.seen, log, errors_of(error)
    return interrupter.seen, log, []


@pytest.mark.parametrize(
    "program",
    [
        *(wait_for_child, wait_for_failing_child, wait_for_cancelled_child),
        wait_for_child_that_starts,
    ],
)
def test_an_interrupt_in_the_end_of_a_task_loses_neither(program: Program) -> None:
    places, log, errors = run(program, 0)
    assert places >= 3

    for place in range(1, places + 1):
        _, log_then, errors_then = run(program, place)
        assert log_then == log, place
        assert sorted(map(repr, errors_then)) == sorted(map(repr, [*errors, TimeLimitError])), place


async def cancel_tree(log: list[str]) -> None:
    async def sleep(number: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append(f"child {number}")

    async def nest() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(sleep, 1)
            group.start_soon(sleep, 2)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(nest)
            group.start_soon(sleep, 3)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    finally:
        log.append("main")


async def start_child(log: list[str]) -> None:
    async def child(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            await anyio.lowlevel.checkpoint()
            task_status.started()
            await anyio.lowlevel.checkpoint()
        finally:
            log.append("child")

    try:
        async with anyio.create_task_group() as group:
            await group.start(child)
    finally:
        log.append("main")


async def take_turns(log: list[str]) -> None:
    async def child(number: int) -> None:
        try:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
        finally:
            log.append(f"child {number}")

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(child, 1)
            group.start_soon(child, 2)
            event = anyio.Event()
            group.start_soon(event.wait)
            await anyio.lowlevel.checkpoint()
            event.set()
    finally:
        log.append("main")


@pytest.mark.timeout(60)  # hundreds of runs; 5 s on a quiet machine
# A child whose start was interrupted never ran.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "program, codes",
    [(cancel_tree, CANCELLATIONS), (start_child, BEGINNINGS), (take_turns, STEPS)],
)
def test_an_interrupt_in_the_kernel_lets_the_run_end(program: Program, codes: Any) -> None:
    places, log, _ = run(program, 0, "", codes)
    assert places > 5

    for place in range(1, places + 1):
        places_then, log_then, errors = run(program, place, "", codes)
        assert "main" in log_then, place
        assert set(log_then) <= set(log), place
        if places_then >= place:  # a slice is over when its time is over
            assert TimeLimitError in errors, place


async def wait_for_streams(log: list[str]) -> None:
    """Wait for a stream, and for a socket that is not ours."""
    (one, two), (three, four) = socket.socketpair(), socket.socketpair()
    one.setblocking(False)

    async def wait_for_bytes(stream: anyio.abc.ByteStream) -> None:
        log.append((await stream.receive()).decode())

    async def wait_for_socket() -> None:
        await anyio.wait_readable(three)
        log.append("foreign")

    async def send() -> None:
        await anyio.wait_all_tasks_blocked()
        two.send(b"bytes")
        four.send(b"x")
        log.append("sent")

    with two, three, four:
        stream = await anyio.abc.UNIXSocketStream.from_socket(one)
        async with stream, anyio.create_task_group() as group:
            group.start_soon(wait_for_bytes, stream)
            group.start_soon(wait_for_socket)
            group.start_soon(send)


async def wait_for_deadlines(log: list[str]) -> None:
    """Sleep, and be cancelled by a deadline."""

    async def sleep() -> None:
        await anyio.sleep(0.001)
        log.append("slept")

    async with anyio.create_task_group() as group:
        group.start_soon(sleep)
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()
        log.append("timed out")


async def wait_for_threads(log: list[str]) -> None:
    """Call functions in threads, one after the other, that call back."""
    limiter = anyio.CapacityLimiter(1)

    def call_back(number: int) -> None:
        try:
            anyio.from_thread.run_sync(log.append, f"thread {number}")
        except TimeLimitError:  # the function may have been called before that
            log.extend({f"thread {number}"} - set(log))
            log.append("told")

    async def visit_thread(number: int) -> None:
        await anyio.to_thread.run_sync(call_back, number, limiter=limiter)

    async with anyio.create_task_group() as group:
        group.start_soon(visit_thread, 1)
        group.start_soon(visit_thread, 2)


BETWEEN_STEPS: dict[Program, tuple[Any, ...]] = {
    wait_for_streams: (
        *(Kernel.turn, Kernel._take_turns, Reactor.turn, EpollSelector.select, Internal.deliver),
        *(ForeignWait.deliver, ForeignWaits.settle, ForeignWaits._rearm, IdleWaiters.wake),
    ),
    wait_for_deadlines: (Deadlines.expire, Deadlines.next, Task.expire, CancelScope.expire),
    wait_for_threads: (
        *(EntryQueue.run, EntryQueue.lower_flag, Call.__call__, Call.capture, Job.__call__),
        *(CapacityLimiter.release_on_behalf_of, CapacityLimiter._serve_waiters),
    ),
}
"""Programs, and the functions that wake their tasks: one set at a time, so places stay the same."""


@pytest.mark.skipif(sys.platform != "linux", reason="raises in the selector of Linux")
@pytest.mark.timeout(60)  # some 100 runs; 2 s on a quiet machine
@pytest.mark.parametrize("program", BETWEEN_STEPS)
def test_an_interrupt_between_two_steps_loses_no_wake_up(program: Program) -> None:
    async def main(log: list[str]) -> None:
        done = anyio.Event()

        async def call_program() -> None:
            await program(log)
            done.set()

        async with anyio.create_task_group() as group:
            group.start_soon(call_program)
            while not done.is_set():
                try:
                    await done.wait()
                except TimeLimitError:
                    log.append("told")

    codes = {function.__code__ for function in BETWEEN_STEPS[program]}
    places, log, _ = run(main, 0, "", codes)
    assert places >= 5

    for place in range(1, places + 1):
        places_then, log_then, errors = run(main, place, "", codes)
        assert errors in ([], [TimeLimitError]), place  # the main task may have left the wait
        if not errors and places_then >= place:  # threads come when they like, and so do turns
            assert sorted(log_then) == sorted([*log, "told"]), place


WAITS: set[CodeType] = {
    function.__code__
    for function in (
        *(Event.set, Event.wait, Lock.acquire, Lock.release, Lock.owner_ended, give_way),
        *(Semaphore.acquire, Semaphore.release, Kernel.park, Kernel.yield_now, Kernel.sleep),
        *(CapacityLimiter.acquire_on_behalf_of, CapacityLimiter.release_on_behalf_of),
        *(CapacityLimiter._serve_waiters, Registration.wait_readable, Registration._arm),
        *(Reactor.arm, ForeignWaits.wait_readable, ForeignWaits._arm_and_park),
        *(Deadlines.add, Job.run, ThreadResult.task_done, IdleWaiters.wait),
    )
}
SCOPES: set[CodeType] = {
    function.__code__
    for function in (
        *(CancelScope.__enter__, CancelScope.enter, CancelScope.__exit__, CancelScope._absorb),
        *(TaskGroup.__aenter__, TaskGroup.__aexit__, TaskGroup._wait_for_children),
        *(TaskGroup._require_host, TaskGroup._end_children, TaskGroup._outcome),
        *(CancelScope.cancel, CancelScope._cancel, CancelScope._leave_those_inside),
    )
}


CONTEXTS = (Cancelled, StopIteration)
"""What the kernel may handle when the handler raises."""


async def wait_for_all(log: list[str]) -> None:
    """Wait for each thing that others give, while the others wait for it, too."""
    event, lock = anyio.Event(), anyio.Lock()
    semaphore, limiter = anyio.Semaphore(1), anyio.CapacityLimiter(1)
    first, second = socket.socketpair()
    first.setblocking(False)
    stream = await anyio.abc.UNIXSocketStream.from_socket(first)

    async def use() -> None:
        async with lock:
            await anyio.lowlevel.checkpoint()
        async with semaphore:
            await anyio.lowlevel.checkpoint()
        async with limiter:
            await anyio.lowlevel.checkpoint()
        await event.wait()
        await anyio.sleep(0.0001)

    async def wait_for_socket() -> None:
        await anyio.wait_readable(second)

    async def visit_thread() -> None:
        await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.lowlevel.checkpoint)

    try:
        with second:
            async with stream, anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(use)
                for function in (visit_thread, stream.receive):
                    group.start_soon(function)
                group.start_soon(wait_for_socket)
                await anyio.wait_all_tasks_blocked()
                event.set()
                second.send(b"x")
                await stream.send(b"x")
    finally:
        log.append("main")


async def nest_scopes(log: list[str]) -> None:
    """Leave scopes and groups in each way: at the end, cancelled, by an error, at a deadline."""

    async def child() -> None:
        try:
            with anyio.CancelScope(), anyio.fail_after(9), anyio.move_on_after(0.0001):
                async with anyio.create_task_group() as inner:
                    inner.start_soon(anyio.sleep_forever)
        finally:
            await anyio.lowlevel.checkpoint()

    async def clean_up() -> None:
        try:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        finally:  # is cancelled, too, if the scope was not left
            await anyio.lowlevel.checkpoint()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            group.start_soon(clean_up)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(anyio.sleep_forever)
                    await anyio.lowlevel.checkpoint()
                    scope.cancel()
            try:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(anyio.sleep_forever)
                    raise LookupError
            except* LookupError:
                pass
    finally:
        log.append("main")


@pytest.mark.timeout(60)  # some 200 runs; 5 s on a quiet machine
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("program, codes", [(wait_for_all, WAITS), (nest_scopes, SCOPES)])
def test_an_interrupt_in_a_wait_or_a_scope_is_the_only_error(program: Any, codes: Any) -> None:
    places, _, errors = run(program, 0, "", codes)
    assert places > 60
    assert errors == []

    for place in range(1, places + 1):
        places_then, log, errors = run(program, place, "", codes)
        assert log == ["main"], place
        if places_then >= place:
            assert set(errors) <= {TimeLimitError, LookupError, *CONTEXTS}, place
            assert TimeLimitError in errors, place


async def acquire_each(log: list[str]) -> None:
    lock, semaphore, limiter = anyio.Lock(), anyio.Semaphore(1), anyio.CapacityLimiter(1)
    for thing in (lock, semaphore, limiter):
        with suppress(TimeLimitError):
            await thing.acquire()
            thing.release()
    log.append(f"{lock.locked()} {semaphore.value} {limiter.borrowed_tokens}")


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_acquire_that_an_interrupt_has_cut_short_takes_nothing() -> None:
    functions = (Lock.acquire, Semaphore.acquire, CapacityLimiter.acquire_on_behalf_of, give_way)
    codes = {function.__code__ for function in functions}
    places, log, _ = run(acquire_each, 0, "", codes)
    assert places >= 6
    assert log == ["False 1 0"]

    for place in range(1, places + 1):
        assert run(acquire_each, place, "", codes)[1] == log, place


def test_after_an_interrupt_at_the_begin_or_the_end_of_a_run_there_can_be_another() -> None:
    functions = (
        *(Presence.surround, Presence.withdraw, Detection.__enter__, Detection.__exit__),
        *(AsyncGenerators.__enter__, AsyncGenerators.__exit__),
    )
    codes = {function.__code__ for function in functions}
    places, _, _ = run(take_turns, 0, "", codes)
    assert places > 5

    for place in range(1, places + 1):
        _, _, errors = run(take_turns, place, "", codes)
        assert TimeLimitError in errors, place
        assert running.kernel is None, place
        assert sniffio.thread_local.name is None, place
        assert sys.get_asyncgen_hooks().firstiter is None, place


@pytest.mark.parametrize("wait", [anyio.sleep_forever, anyio.lowlevel.checkpoint])
def test_an_interrupt_right_after_a_step_does_not_end_the_task_that_took_it(wait: Any) -> None:
    log: list[str] = []

    async def child() -> None:
        try:
            while True:
                await wait()
        finally:
            await anyio.lowlevel.cancel_shielded_checkpoint()
            log.append("child unwound")

    async def main() -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(child, name="steps")
        finally:
            log.append("main unwound")

    def interrupt(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_return" and frame.f_code is Kernel.step_code and function.__name__ == "run":
            task: Any = running_kernel().current
            if task.name == "steps":
                sys.setprofile(None)
                raise TimeLimitError

    sys.setprofile(interrupt)
    try:
        with pytest.raises(BaseExceptionGroup) as caught:
            anyio_mio.run(main)
    finally:
        sys.setprofile(None)

    assert errors_of(caught.value) == [TimeLimitError]
    assert log == ["child unwound", "main unwound"]
