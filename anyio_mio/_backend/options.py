"""The options of ``anyio.run(..., backend_options={...})`` for mio."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from math import inf
from typing import Any, Final, Literal, TypedDict

import anyio

from anyio_mio._backend.detection import Detection, watch_libraries
from anyio_mio._kernel.clock import Clock
from anyio_mio._kernel.fairness import ShuffledQueue
from anyio_mio._kernel.instruments import Instrument
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.task import Task
from anyio_mio._kernel.watchdog import Watchdog
from anyio_mio._reactor.scheduler import ErrorClasses
from anyio_mio.poll._sys.busy_poll import BusyPoll
from anyio_mio.poll._sys.selector import Selector, default_selector

ERRORS: Final = ErrorClasses(
    closed=anyio.ClosedResourceError,
    broken=anyio.BrokenResourceError,
    busy=anyio.BusyResourceError,
    end_of_stream=anyio.EndOfStream,
)

CHECKPOINTS: Final = ("budget", "strict")
DEBUG_SLOW_STEP: Final = 0.1
"""Seconds; the same as in asyncio's debug mode."""

LONGEST_SPIN: Final = 0.01
"""Seconds. Larger values are almost certainly milliseconds."""


class RunOptions(TypedDict, total=False):
    """The options of a run on mio, for `anyio_mio.run()` and for AnyIO's ``backend_options``.

    Attributes:
        busy_poll: How long, in seconds, to poll again and again before the run sleeps; 0, the
            default, sleeps at once. Some 20e-6 halve the latency of peers that answer within that
            time, and keep a core busy.
        checkpoints: ``"budget"``, the default: an operation that need not wait yields when its
            task's budget is spent; or ``"strict"``: it always yields.
        debug: True to log each socket that is never closed, with the place where it was made, and
            to set ``slow_step`` to 0.1; True by default under ``python -X dev``.
        clock: An object with ``now()`` and ``time_to_wait(deadline)``, such as
            `anyio_mio.testing.MockClock`.
        instruments: Observers of the run.
        old_connection: A limit in seconds: a connection that is open longer is logged once to
            ``anyio_mio.debug``, with the place where it was made. 0, the default, for no limit.
        selector: ``"epoll"``, ``"kqueue"``, ``"level"``, or a selector object, which the run
            closes; None, the default, for the best of the platform.
        shuffle: A seed: tasks that can run do so in a random order, which the seed repeats, and not
            in the order of their wake-ups.
        slow_step: A limit in seconds, 0.1 for example: a step of a task that blocks the loop longer
            is logged to ``anyio_mio.watchdog`` with its stack, while it still blocks; 0, the
            default, for no limit and no thread that watches.
    """

    busy_poll: float
    checkpoints: Literal["budget", "strict"]
    clock: Clock | None
    debug: bool
    instruments: Iterable[Instrument]
    old_connection: float
    selector: str | Selector | None
    shuffle: int | None
    slow_step: float


NAMES: Final = tuple(sorted(RunOptions.__annotations__))


def make_kernel(options: dict[str, Any]) -> Kernel:
    """Make a kernel for these options.

    Args:
        options: see `RunOptions`.

    Raises:
        TypeError: an option is unknown, or of the wrong type.
        ValueError: an option has no such value.
    """
    watch_libraries()
    refuse_unknown(options)
    checkpoints = options.get("checkpoints", "budget")
    if checkpoints not in CHECKPOINTS:
        raise ValueError(text("checkpoints", checkpoints, "'strict', or 'budget', the default"))
    debug = checked_debug(options)
    slow_step = checked_limit(options, "slow_step", DEBUG_SLOW_STEP if debug else 0)
    old_connection = checked_limit(options, "old_connection", 0)
    # The selector comes last: it holds descriptors, and an error would leave them open.
    kernel = Kernel(
        ERRORS,
        clock=checked_clock(options.get("clock")),
        strict_checkpoints=checkpoints == "strict",
        detection=Detection,
        instruments=checked_instruments(options.get("instruments", ())),
        queue_type=queue_type(options.get("shuffle")),
        selector=make_selector(options.get("selector"), checked_busy_poll(options)),
    )
    if slow_step:
        kernel.observers.append(partial(Watchdog, limit=slow_step))
    if debug or old_connection:
        kernel.observers.append(partial(watch_sockets, oldest=old_connection))
    return kernel


def checked_clock(option: Clock | None) -> Clock | None:
    """Return the option, if it can be a clock."""
    for name in ("now", "time_to_wait") if option is not None else ():
        if not callable(getattr(option, name, None)):
            raise TypeError(text("clock", option, "anyio_mio.testing.MockClock()"))
    return option


def checked_instruments(option: Iterable[Instrument]) -> list[Instrument]:
    """Return the option as a list, if it holds instruments."""
    instruments = list(option) if isinstance(option, Iterable) else [option]
    if not isinstance(option, Iterable) or not all(isinstance(i, Instrument) for i in instruments):
        raise TypeError(text("instruments", option, "[MyInstrument()], of lowlevel.Instrument"))
    return instruments


def queue_type(seed: int | None) -> Callable[[], deque[Task]]:
    """Return the factory of run queues for the option ``shuffle``."""
    if seed is None:
        return deque
    if not isinstance(seed, int):
        raise TypeError(text("shuffle", seed, "a number, the seed"))
    return partial(ShuffledQueue, random.Random(seed))


def checked_busy_poll(options: dict[str, Any]) -> float:
    """Return the option ``busy_poll``, if it is a time to spin."""
    seconds = options.get("busy_poll", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(text("busy_poll", seconds, "seconds, 20e-6 for example"))
    if not 0 <= seconds <= LONGEST_SPIN:
        raise ValueError(text("busy_poll", seconds, f"0 to {LONGEST_SPIN} seconds"))
    return seconds


def checked_limit(options: dict[str, Any], name: str, default: float) -> float:
    """Return an option that is a limit in seconds."""
    seconds = options.get(name, default)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(text(name, seconds, "seconds, 0.1 for example"))
    if not 0 <= seconds < inf:
        raise ValueError(text(name, seconds, "0.1 (seconds), or 0 for no limit"))
    return seconds


def checked_debug(options: dict[str, Any]) -> bool:
    """Return the option ``debug``."""
    debug = options.get("debug", sys.flags.dev_mode)
    if not isinstance(debug, bool):
        raise TypeError(text("debug", debug, "True or False"))
    return debug


def watch_sockets(kernel: Kernel, oldest: float) -> AbstractContextManager[object]:
    """Return the watcher of the sockets of a run."""
    from anyio_mio._backend.open_sockets import OpenSockets  # few programs need it

    return OpenSockets(kernel, oldest)


def make_selector(option: str | Selector | None, busy_poll: float) -> Selector:
    """Return the selector for the option ``selector``."""
    if option is None or isinstance(option, str):
        selector = default_selector(option)
    elif not callable(getattr(option, "select", None)) or not hasattr(option, "edge_triggered"):
        raise TypeError(text("selector", option, "'epoll', 'level', or an anyio_mio.poll.Selector"))
    else:
        selector = option
    return BusyPoll(selector, busy_poll) if busy_poll else selector


def text(name: str, value: object, right: str) -> str:
    """Return the message for a wrong option, with a right one."""
    return (
        f"the mio backend's option {name!r} cannot be {value!r}.\n"
        f"  right: anyio.run(main, backend='mio', backend_options={{{name!r}: ...}}) with {right}"
    )


def refuse_unknown(options: dict[str, Any]) -> None:
    """Raise TypeError if an option is not one of ours."""
    for name in options:
        if name not in NAMES:
            from difflib import get_close_matches  # 2 ms that only a mistake needs

            similar = get_close_matches(str(name), NAMES, 1)
            hint = f" (did you mean {similar[0]!r}?)" if similar else ""
            raise TypeError(
                f"the mio backend has no option {name!r}{hint}; it has {', '.join(NAMES)}.\n"
                "  right: anyio.run(main, backend='mio', backend_options={'checkpoints': 'strict'})"
            )
