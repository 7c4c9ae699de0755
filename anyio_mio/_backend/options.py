"""Backend options: what ``anyio.run(..., backend_options={...})`` may hold for mio."""

from __future__ import annotations

from contextlib import AbstractContextManager
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Final, final

import anyio
import sniffio

from anyio_mio._kernel.clock import Clock
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._reactor.scheduler import ErrorClasses
from anyio_mio.poll.selector import Selector, default_selector

ERRORS: Final = ErrorClasses(
    closed=anyio.ClosedResourceError,
    broken=anyio.BrokenResourceError,
    busy=anyio.BusyResourceError,
    end_of_stream=anyio.EndOfStream,
)

CHECKPOINTS: Final = ("budget", "strict")
NAMES: Final = ("checkpoints", "clock", "instruments", "selector")


def make_kernel(options: dict[str, Any]) -> Kernel:
    """A kernel for these options.

    Args:
        options: ``checkpoints`` is ``"budget"`` (default: an operation that need not wait yields
            when its task's budget is spent) or ``"strict"`` (it always yields);
            ``clock`` has ``now()`` and ``time_to_wait(deadline)``, such as
            `anyio_mio.testing.MockClock`;
            ``instruments`` is an iterable of `anyio_mio.lowlevel.Instrument`;
            ``selector`` is ``"epoll"``, ``"kqueue"``, ``"level"``, or a selector object, which the
            run closes.

    Raises:
        TypeError: an option is unknown.
        ValueError: an option has no such value.
    """
    refuse_unknown(options)
    checkpoints = options.get("checkpoints", "budget")
    if checkpoints not in CHECKPOINTS:
        raise ValueError(
            f"the backend option 'checkpoints' cannot be {checkpoints!r}.\n"
            "  right: backend_options={'checkpoints': 'strict'}, or 'budget', the default"
        )
    clock: Clock | None = options.get("clock")
    kernel = Kernel(
        ERRORS,
        selector=make_selector(options.get("selector")),
        clock=clock,
        strict_checkpoints=checkpoints == "strict",
        detection=Detection,
    )
    kernel.instruments.extend(options.get("instruments", ()))
    return kernel


def make_selector(option: str | Selector | None) -> Selector:
    """The selector that the option means."""
    if option is None:
        return default_selector()
    return default_selector(option) if isinstance(option, str) else option


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
