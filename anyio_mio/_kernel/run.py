"""A run from its first task to its last descriptor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractContextManager, ExitStack
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from anyio_mio._kernel.cancelled import Cancelled
from anyio_mio._kernel.interrupts import Interrupts, release_in_child
from anyio_mio._kernel.outcome import Outcome
from anyio_mio._kernel.worker_threads import WORKERS

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel
    from anyio_mio._kernel.task import Task

T = TypeVar("T")


def run(kernel: Kernel, main: Coroutine[object, object, T], name: str) -> T:
    """Run ``main`` to its end, then the tasks that it left behind; then release everything.

    Returns:
        What ``main`` returned. Its exception passes through as it is.
    """
    outcome: Outcome[T] = Outcome()
    living_kernels.add(kernel)
    try:
        with Interrupts(kernel), ExitStack() as stack:
            for observe in (*kernel.observers, *observers):
                stack.enter_context(observe(kernel))
            kernel.main = kernel.spawn(main, name, outcome, kernel.root)
            run_main(kernel, outcome)
            kernel.main = None
            shut_down(kernel)
    finally:
        living_kernels.discard(kernel)
        kernel.close()
        close_unstarted([main, *(task.coro for task in kernel.run_queue)])
    kernel.raise_pending(outcome.error)
    try:
        return outcome.unwrap()
    except (BaseExceptionGroup, Cancelled) as error:
        if not is_ctrl_c(error, broke_off=kernel.interruption.broke_off):
            raise
        # Ctrl-C went through task groups on its way; programs expect it bare, as from asyncio. The
        # groups say nothing that the user does not know, in some thirty lines, so they stay out of
        # sight: they are its __context__.
        raise KeyboardInterrupt from None


def is_ctrl_c(error: BaseException, *, broke_off: bool) -> bool:
    """Return whether an error that has ended the main task is a Ctrl-C, and nothing else.

    Args:
        error: what the main task has ended with.
        broke_off: whether a second Ctrl-C has cancelled the run.
    """
    if isinstance(error, BaseExceptionGroup):
        return error.split(KeyboardInterrupt)[1] is None
    return broke_off


def run_main(kernel: Kernel, outcome: Outcome[Any], *, is_patient: bool = True) -> None:
    """Take turns until there is an outcome; what breaks them ends the main task's wait, once.

    A signal's handler raises between any two bytecodes, and mostly while all tasks wait: it may be
    ``sys.exit()``, or the time limit of a test. The main task gets it where it waits, so that the
    program unwinds and shows where that was. A second error breaks off the run.

    Args:
        kernel: the run.
        outcome: how the main task has ended, or what it was asked to do. If that comes before the
            error can be told, the error is raised here, and an error of the outcome is its context.
        is_patient: whether to go on while the main task cannot leave its wait, for a thread, say.
    """
    main = kernel.main
    try:
        kernel.run_until(outcome.done)
    except BaseException as error:
        if kernel.is_dead or main is None or main.done:
            raise
        if not kernel.throw(main, error):
            if not (is_patient or main in kernel.runnable_tasks()):
                raise
            if not throw_when_it_waits(kernel, main, error, outcome.done):
                error.__context__ = outcome.error
                raise
    else:
        return
    kernel.run_until(outcome.done)


def throw_when_it_waits(
    kernel: Kernel, main: Task, error: BaseException, is_over: Callable[[], bool]
) -> bool:
    """Take turns until the main task is in a wait that it can leave; False if it ends before."""
    is_told = False

    def throw() -> bool:
        nonlocal is_told
        is_told = kernel.throw(main, error)
        return is_told

    kernel.run_until(lambda: is_over() or throw())
    return is_told


def close_unstarted(coros: Iterable[Coroutine[object, object, object]]) -> None:
    """Close what never began because the run broke down: Python need not warn of it."""
    for coro in coros:
        if isinstance(coro, CoroutineType) and getcoroutinestate(coro) == CORO_CREATED:
            coro.close()


def shut_down(kernel: Kernel) -> None:
    """End, after the main task: shutdown hooks, then system tasks, then async generators.

    Closing a generator may drop or begin others, so this repeats until none is left.
    """
    for hook in kernel.at_shutdown:
        run_coroutine(kernel, hook(), "shutdown hook")
    kernel.system.cancel("the run is over")
    kernel.run_until(kernel.has_nothing_to_do)
    while kernel.async_generators:
        run_coroutine(kernel, kernel.async_generators.close_all(), "close async generators")
        kernel.run_until(kernel.has_nothing_to_do)


def run_coroutine(kernel: Kernel, coro: Coroutine[object, object, object], name: str) -> None:
    """Run one coroutine in the root scope, to its end."""
    outcome: Outcome[object] = Outcome()
    kernel.spawn(coro, name, outcome, kernel.root)
    kernel.run_until(outcome.done)
    outcome.unwrap()


observers: Final[list[Callable[[Kernel], AbstractContextManager[object]]]] = []
"""Each makes a context manager that surrounds every run of the process: the console's."""

living_kernels: Final[WeakSet[Kernel]] = WeakSet()


def _before_fork() -> None:
    for kernel in list(living_kernels):
        kernel.reactor.has_forked = True  # the child will hold a duplicate of every descriptor (R5)


def _after_fork_in_child() -> None:
    WORKERS.forget()
    for kernel in list(living_kernels):
        kernel.die_in_child()
    release_in_child()


if sys.platform != "win32":  # where no process is forked
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
