"""What a signal's handler raises inside the end of a task loses neither the end nor the error.

CPython calls handlers of signals after calls of functions in C, at the start of functions in Python
and at jumps backwards. A trace function raises at these places, one after the other, in the
functions that settle the end of a task.
"""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import anyio_mio
from anyio_mio._backend.anyio_internals import HandledTask
from anyio_mio._kernel import cancel_scope
from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio._kernel.outcome import Outcome
from anyio_mio._kernel.running import running
from anyio_mio._kernel.starting import Starting
from anyio_mio._kernel.task import Task
from anyio_mio._kernel.task_group import TaskGroup

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
            gc.collect()  # a coroutine that never ran is reported here, and not in another test
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
        _, log_then, errors = run(program, place, "", codes)
        assert "main" in log_then, place
        assert set(log_then) <= set(log), place
        assert TimeLimitError in errors, place


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
