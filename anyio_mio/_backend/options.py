"""Backend options: what ``anyio.run(..., backend_options={...})`` may hold for mio."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Final, final

import anyio
import sniffio

from anyio_mio._kernel.clock import Clock
from anyio_mio._kernel.instruments import Instrument
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.shuffled_queue import ShuffledQueue
from anyio_mio._kernel.task import Task
from anyio_mio._reactor.scheduler import ErrorClasses
from anyio_mio.poll.selector import Selector, default_selector

ERRORS: Final = ErrorClasses(
    closed=anyio.ClosedResourceError,
    broken=anyio.BrokenResourceError,
    busy=anyio.BusyResourceError,
    end_of_stream=anyio.EndOfStream,
)

CHECKPOINTS: Final = ("budget", "strict")
NAMES: Final = ("checkpoints", "clock", "instruments", "selector", "shuffle")


def make_kernel(options: dict[str, Any]) -> Kernel:
    """A kernel for these options.

    Args:
        options: ``checkpoints`` is ``"budget"`` (default: an operation that need not wait yields
            when its task's budget is spent) or ``"strict"`` (it always yields);
            ``clock`` has ``now()`` and ``time_to_wait(deadline)``, such as
            `anyio_mio.testing.MockClock`;
            ``instruments`` is an iterable of `anyio_mio.lowlevel.Instrument`;
            ``selector`` is ``"epoll"``, ``"kqueue"``, ``"level"``, or a selector object, which the
            run closes;
            ``shuffle`` is a seed: tasks that can run do so in a random order, which the seed
            repeats, and not in the order of their wake-ups.

    Raises:
        TypeError: an option is unknown, or of the wrong type.
        ValueError: an option has no such value.
    """
    refuse_unknown(options)
    checkpoints = options.get("checkpoints", "budget")
    if checkpoints not in CHECKPOINTS:
        raise ValueError(text("checkpoints", checkpoints, "'strict', or 'budget', the default"))
    # The selector comes last: it holds descriptors, and nobody would close them.
    return Kernel(
        ERRORS,
        clock=checked_clock(options.get("clock")),
        strict_checkpoints=checkpoints == "strict",
        detection=Detection,
        instruments=checked_instruments(options.get("instruments", ())),
        run_queue=make_run_queue(options.get("shuffle")),
        selector=make_selector(options.get("selector")),
    )


def checked_clock(option: Clock | None) -> Clock | None:
    """The option, if it can be a clock."""
    for name in ("now", "time_to_wait") if option is not None else ():
        if not callable(getattr(option, name, None)):
            raise TypeError(text("clock", option, "anyio_mio.testing.MockClock()"))
    return option


def checked_instruments(option: Iterable[Instrument]) -> list[Instrument]:
    """The option as a list, if it holds instruments."""
    instruments = list(option) if isinstance(option, Iterable) else [option]
    if not isinstance(option, Iterable) or not all(isinstance(i, Instrument) for i in instruments):
        raise TypeError(text("instruments", option, "[MyInstrument()], of lowlevel.Instrument"))
    return instruments


def make_run_queue(seed: int | None) -> deque[Task]:
    """The run queue that the option ``shuffle`` means."""
    if seed is None:
        return deque()
    if not isinstance(seed, int):
        raise TypeError(text("shuffle", seed, "a number, the seed"))
    return ShuffledQueue(seed)


def make_selector(option: str | Selector | None) -> Selector:
    """The selector that the option means."""
    if option is None:
        return default_selector()
    if isinstance(option, str):
        return default_selector(option)
    if not callable(getattr(option, "select", None)) or not hasattr(option, "edge_triggered"):
        raise TypeError(text("selector", option, "'epoll', 'level', or an anyio_mio.poll.Selector"))
    return option


def text(name: str, value: object, right: str) -> str:
    """What is wrong with an option, and what would be right."""
    return (
        f"the mio backend's option {name!r} cannot be {value!r}.\n"
        f"  right: anyio.run(main, backend='mio', backend_options={{{name!r}: ...}}) with {right}"
    )


def refuse_unknown(options: dict[str, Any]) -> None:
    """Raise TypeError if an option is not one of ours."""
    for name in options:
        if name not in NAMES:
            similar = get_close_matches(str(name), NAMES, 1)
            hint = f" (did you mean {similar[0]!r}?)" if similar else ""
            raise TypeError(
                f"the mio backend has no option {name!r}{hint}; it has {', '.join(NAMES)}.\n"
                "  right: anyio.run(main, backend='mio', backend_options={'checkpoints': 'strict'})"
            )


@final
class Detection(AbstractContextManager[None]):
    """While it is entered, sniffio answers "mio" in this thread.

    The thread-local name is asked before the context variable, so callbacks in foreign contexts
    are right too, and code between two steps of the test runner detects nothing.
    """

    __slots__ = ("_previous",)

    def __enter__(self) -> None:
        self._previous = sniffio.thread_local.name
        sniffio.thread_local.name = "mio"

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        sniffio.thread_local.name = self._previous
