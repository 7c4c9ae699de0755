"""Ctrl-C: first at a checkpoint of the main task, then at once, and never inside our own code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Awaitable, Callable, Iterator

import anyio
import anyio.lowlevel
import pytest

from anyio_mio._backend.test_runner import TestRunner
from anyio_mio._kernel.interrupts import Interrupts, is_ours
from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio.testing import ScriptedSelector
from tests.kernel.harness import Box, Group, HandClock, make_kernel, run


@pytest.fixture(autouse=True)
def pythons_own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_the_first_is_raised_at_the_next_checkpoint_of_the_main_task() -> None:
    log: list[str] = []

    async def main() -> None:
        press_ctrl_c()
        log.append("went on")
        await anyio.lowlevel.checkpoint()
        log.append("never")

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend="mio")

    assert log == ["went on"]


def test_another_task_does_not_get_it() -> None:
    log: list[str] = []

    async def child() -> None:
        press_ctrl_c()
        await anyio.lowlevel.checkpoint()
        log.append("the child went on")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            try:
                await anyio.sleep(10)
            except KeyboardInterrupt:
                log.append("the main task got it")
                raise

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend="mio")

    assert log == ["the child went on", "the main task got it"]


def test_a_second_one_is_raised_at_once_in_the_task_that_hogs() -> None:
    log: list[str] = []

    async def main() -> None:
        press_ctrl_c()
        try:
            press_ctrl_c()
            log.append("never")
        except KeyboardInterrupt:
            log.append("at once")
        await anyio.lowlevel.checkpoint()
        log.append("and not once more")

    anyio.run(main, backend="mio")

    assert log == ["at once", "and not once more"]


def call_from(module: str, source: str) -> types.FrameType:
    """The frame of a function of that module, as a signal handler would see it."""
    scope: dict[str, object] = {"__name__": module, "sys": sys}
    exec(source, scope)
    function = scope["function"]
    assert callable(function)
    frame = function()
    assert isinstance(frame, types.FrameType)
    return frame


@pytest.mark.parametrize(
    "module",
    [
        "anyio_mio._kernel.kernel",
        "anyio_mio._backend.synchronization",
        "anyio_mio._reactor.registration",
        "anyio_mio._net.streams",
        "anyio_mio.poll._sys.level",
    ],
)
def test_no_second_one_is_raised_inside_our_code(module: str) -> None:
    # Event.set() between taking its waiters and resuming them, say: they would wait for ever.
    frame = call_from(module, "def function(): return sys._getframe()")

    assert is_ours(frame)


def test_what_the_standard_library_does_for_us_is_ours_too() -> None:
    source = "def function(): return library()"
    scope: dict[str, object] = {"__name__": "contextlib", "sys": sys}
    exec("def library(): return sys._getframe()", scope)
    ours: dict[str, object] = {"__name__": "anyio_mio._kernel.entry", "library": scope["library"]}
    exec(source, ours)
    function = ours["function"]
    assert callable(function)

    assert is_ours(function())


def test_the_programs_code_is_not_ours_although_we_step_it() -> None:
    seen: list[bool] = []

    async def main() -> None:
        seen.append(is_ours(sys._getframe()))

    anyio.run(main, backend="mio")

    assert seen == [False]


def test_it_ends_the_children_of_a_group_in_which_the_main_task_waits() -> None:
    log: list[str] = []

    async def child(kernel: Kernel) -> None:
        try:
            press_ctrl_c()
            await kernel.sleep(100)
        finally:
            log.append("child ended")

    async def main(kernel: Kernel) -> None:
        async with Group(kernel) as group:
            group.spawn(child(kernel))

    with pytest.raises(KeyboardInterrupt):
        run(main)

    assert log == ["child ended"]


def test_it_comes_out_of_start_although_the_child_waits_in_a_group_of_its_own() -> None:
    # It was lost: the inner group was told that its host had been cancelled instead.
    log: list[str] = []

    async def grandchild() -> None:
        try:
            await anyio.sleep(100)
        finally:
            log.append("grandchild ended")

    async def child(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with anyio.create_task_group() as inner:
            inner.start_soon(grandchild)

    async def press() -> None:
        await anyio.wait_all_tasks_blocked()
        press_ctrl_c()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(press)
            await group.start(child)

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend="mio")

    assert log == ["grandchild ended"]


def test_it_waits_for_the_thread_in_which_the_main_task_waits() -> None:
    log: list[str] = []
    pressed = threading.Event()

    def work() -> None:
        pressed.wait(5)
        log.append("thread done")

    async def press() -> None:
        await anyio.wait_all_tasks_blocked()
        press_ctrl_c()
        await anyio.sleep(0.01)
        pressed.set()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(press)
            await anyio.to_thread.run_sync(work)
            log.append("back")
            await anyio.lowlevel.checkpoint()
            log.append("never")

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend="mio")

    assert log == ["thread done", "back"]


def test_one_that_comes_as_the_main_task_is_woken_meets_it_in_its_next_wait() -> None:
    # The kernel looked before the task ran, and then slept: nothing happened until the next event.
    clock = HandClock()

    def wait(timeout: float | None) -> None:
        if timeout:
            clock.time += timeout
            press_ctrl_c()

    async def main(kernel: Kernel) -> None:
        await kernel.sleep(1)
        await Box(kernel).wait()

    with pytest.raises(KeyboardInterrupt):
        run(main, make_kernel(ScriptedSelector(on_wait=wait), clock=clock))

    assert clock.time == 1


def test_one_that_comes_at_the_very_end_is_not_swallowed() -> None:
    async def main() -> None:
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend="mio")


def test_between_two_tests_of_a_runner_it_does_what_it_does_without_us() -> None:
    # It was kept for the next asynchronous test, so nothing synchronous could be interrupted.
    async def passes() -> None:
        await anyio.lowlevel.checkpoint()

    with TestRunner({}) as runner:
        runner.run_test(passes, {})
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
        runner.run_test(passes, {})


def test_a_handler_of_the_programs_own_stays() -> None:
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("own"))

    async def main() -> None:
        press_ctrl_c()
        await anyio.lowlevel.checkpoint()

    try:
        anyio.run(main, backend="mio")
    finally:
        signal.signal(signal.SIGINT, before)

    assert seen == ["own"]


def test_a_handler_that_the_program_sets_during_the_run_stays() -> None:
    async def main() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    try:
        anyio.run(main, backend="mio")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    handlers = []

    async def main() -> None:
        handlers.append(signal.getsignal(signal.SIGINT))

    worker = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": "mio"})
    worker.start()
    worker.join(10)

    assert handlers == [signal.default_int_handler]


def test_a_signal_ends_the_sleep_of_the_kernel() -> None:
    # Its handler runs in Python only when the system call returns.
    seen: list[str] = []

    main_thread = threading.get_ident()

    async def main() -> None:
        kernel = running_kernel()
        done = anyio.Event()

        def handler(*_: object) -> None:
            seen.append("handled")
            kernel.entry.put(done.set)

        before = signal.signal(signal.SIGUSR1, handler)
        thread = threading.Timer(0.02, signal.pthread_kill, (main_thread, signal.SIGUSR1))
        thread.start()
        try:
            with anyio.fail_after(5):
                await done.wait()
        finally:
            signal.signal(signal.SIGUSR1, before)
            thread.join()

    anyio.run(main, backend="mio")

    assert seen == ["handled"]


def test_the_wakeup_descriptor_is_what_it_was() -> None:
    before = signal.set_wakeup_fd(-1)
    try:
        anyio.run(anyio.sleep, 0, backend="mio")
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.set_wakeup_fd(before)


def test_without_a_descriptor_left_the_run_fails_and_nothing_leaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Interrupts) -> None:
        raise OSError("no descriptor left")

    monkeypatch.setattr(Interrupts, "__enter__", refuse)

    with pytest.raises(OSError, match="no descriptor left"):
        anyio.run(anyio.sleep, 0, backend="mio")


async def wait_for_thread(done: threading.Event) -> None:
    await anyio.to_thread.run_sync(done.wait, 20)


async def child_waits_for_thread(done: threading.Event) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(wait_for_thread, done)


async def start_waits_for_thread(done: threading.Event) -> None:
    async def child(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await wait_for_thread(done)

    async with anyio.create_task_group() as group:
        await group.start(child)


async def child_is_shielded(done: threading.Event) -> None:
    async def child() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(20)

    async with anyio.create_task_group() as group:
        group.start_soon(child)


async def shielded_wait_for_thread(done: threading.Event) -> None:
    with anyio.CancelScope(shield=True):
        await wait_for_thread(done)


async def an_independent_task_waits_for_thread(done: threading.Event) -> None:
    running_kernel().spawn_system(wait_for_thread(done), "waits at the end")


@pytest.mark.parametrize(
    "program",
    [
        wait_for_thread,
        child_waits_for_thread,
        start_waits_for_thread,
        child_is_shielded,
        shielded_wait_for_thread,
        an_independent_task_waits_for_thread,
    ],
)
def test_a_second_one_ends_the_run_whatever_it_waits_for(
    program: Callable[[threading.Event], Awaitable[None]],
) -> None:
    log: list[str] = []
    done = threading.Event()

    def press() -> None:
        for _ in range(2):
            time.sleep(0.03)
            os.kill(os.getpid(), signal.SIGINT)

    async def main() -> None:
        threading.Thread(target=press).start()
        try:
            await program(done)
        finally:
            log.append("unwound")

    try:
        with pytest.raises(KeyboardInterrupt):
            anyio.run(main, backend="mio")
    finally:
        done.set()

    assert log == ["unwound"]


def test_one_that_the_program_has_handled_does_not_make_the_next_a_second_one() -> None:
    log: list[str] = []

    async def stays(scope: anyio.CancelScope) -> None:
        await anyio.sleep(0.01)
        press_ctrl_c()
        await anyio.sleep(0.01)
        press_ctrl_c()
        try:
            await anyio.sleep(0.01)
            log.append("the other task went on")
        finally:
            scope.cancel()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(stays, group.cancel_scope)
            for _ in range(2):
                try:
                    await anyio.sleep(5)
                except KeyboardInterrupt:
                    log.append("handled")
            await anyio.sleep(5)

    anyio.run(main, backend="mio")

    assert log == ["handled", "handled", "the other task went on"]


def test_what_a_user_sees_of_it_is_short() -> None:
    async def serve() -> None:
        async with anyio.create_task_group() as outer:
            outer.start_soon(anyio.sleep_forever)
            async with anyio.create_task_group() as inner:
                inner.start_soon(anyio.sleep_forever)
                press_ctrl_c()

    with pytest.raises(KeyboardInterrupt) as caught:
        anyio.run(serve, backend="mio")

    shown = "".join(traceback.format_exception(caught.value))
    assert len(shown.splitlines()) < 20
    assert "Group" not in shown
    assert isinstance(caught.value.__context__, BaseExceptionGroup)
