"""Instruments: observers of the kernel that cost one truth test while there are none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task

LOGGER: Final = logging.getLogger("anyio_mio.instruments")


class Instrument:
    """Base class for observers: override what you need; every method may be called often.

    A method that raises is logged, and its instrument is removed.
    """

    def task_spawned(self, task: Task) -> None:
        """A task was started."""

    def before_step(self, task: Task) -> None:
        """A task is about to run until its next suspension."""

    def after_step(self, task: Task) -> None:
        """The task has been suspended, or is done."""

    def after_poll(self, events: int) -> None:
        """The kernel has polled and got this many events."""


@final
class Instruments(list[Instrument]):
    """The instruments of one run; empty and falsy in almost all of them."""

    def task_spawned(self, task: Task) -> None:
        """Tell all instruments."""
        self._tell("task_spawned", task)

    def before_step(self, task: Task) -> None:
        """Tell all instruments."""
        self._tell("before_step", task)

    def after_step(self, task: Task) -> None:
        """Tell all instruments."""
        self._tell("after_step", task)

    def after_poll(self, events: int) -> None:
        """Tell all instruments."""
        self._tell("after_poll", events)

    def _tell(self, hook: str, argument: object) -> None:
        for instrument in tuple(self):
            try:
                getattr(instrument, hook)(argument)
            except Exception:
                self.remove(instrument)
                LOGGER.exception("instrument %r failed and was removed", instrument)
