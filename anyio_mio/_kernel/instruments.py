"""Instruments: observers of the kernel that cost one truth test while there are none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task

LOGGER: Final = logging.getLogger("anyio_mio.instruments")


class Instrument:
    """Base class for observers: override what you need; every method may be called often.

    A method that raises is logged, and its instrument is removed.
    """

    def task_spawned(self, task: Task) -> None:
        """Observe that a task was started."""

    def before_step(self, task: Task) -> None:
        """Observe that a task is about to run until its next suspension."""

    def after_step(self, task: Task) -> None:
        """Observe that the task has been suspended, or is done."""

    def after_poll(self, events: int) -> None:
        """Observe that the kernel has polled and got this many events."""


@final
class StepObservers(list[Instrument]):
    """The instruments that observe steps. All others cost nothing at a step.

    Args:
        discard: removes an instrument that fails from all hooks.
        instruments: the first instruments.
    """

    def __init__(
        self, discard: Callable[[Instrument], None], instruments: Iterable[Instrument]
    ) -> None:
        super().__init__(instruments)
        self.discard: Final = discard

    def before_step(self, task: Task) -> None:
        """Tell all of them."""
        tell(self, "before_step", task)

    def after_step(self, task: Task) -> None:
        """Tell all of them."""
        tell(self, "after_step", task)


@final
class Instruments(list[Instrument]):
    """The instruments of one run. In most runs there are none, and this is falsy.

    Attributes:
        of_steps: the instruments that override `Instrument.before_step` or `Instrument.after_step`.
    """

    def __init__(self, instruments: Iterable[Instrument] = ()) -> None:
        super().__init__(instruments)
        self.of_steps = StepObservers(self.discard, filter(observes_steps, self))

    def add(self, instrument: Instrument) -> None:
        """Add an instrument; it observes from the next turn on."""
        self.append(instrument)
        if observes_steps(instrument):
            self.of_steps.append(instrument)

    def discard(self, instrument: Instrument) -> None:
        """Remove an instrument, if it is there."""
        for observers in (self, self.of_steps):
            if instrument in observers:
                observers.remove(instrument)

    def task_spawned(self, task: Task) -> None:
        """Tell all instruments."""
        tell(self, "task_spawned", task)

    def after_poll(self, events: int) -> None:
        """Tell all instruments."""
        tell(self, "after_poll", events)


def observes_steps(instrument: Instrument) -> bool:
    """Return whether an instrument overrides a hook that is called for each step."""
    of = type(instrument)
    return (
        of.before_step is not Instrument.before_step or of.after_step is not Instrument.after_step
    )


def tell(observers: StepObservers | Instruments, hook: str, argument: object) -> None:
    """Call a hook of each instrument; log and remove an instrument that fails."""
    for instrument in tuple(observers):
        try:
            getattr(instrument, hook)(argument)
        except Exception:
            observers.discard(instrument)
            LOGGER.exception("instrument %r failed and was removed", instrument)
