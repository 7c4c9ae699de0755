"""Ask consoles again and again, each in a thread of its own, and keep what they said last.

A program that is stuck, or has ended, delays its own row only. Workers of a server come and go:
their directory is looked through again at each interval.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from anyio_mio.console.client import ConsoleClient, NoConsole, find_consoles

COUNTED: Final = ("polls", "events")
"""Figures that only grow, and are shown for each second."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one console said last.

    Attributes:
        stats: its answer; empty before the first.
        rates: what a second brought: ``polls``, ``events``, ``accepted``.
        error: why there is no newer answer; empty if all is well.
    """

    stats: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    error: str = ""


@final
class WatchedConsole:
    """One console, asked at an interval from a thread.

    Args:
        path: its socket.
        interval: seconds between two questions.
    """

    def __init__(self, path: Path, interval: float) -> None:
        self.path: Final = path
        self.sample: Sample = Sample()
        self._interval = interval
        self._asked = 0.0
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name=f"watch {path}", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _watch(self) -> None:
        try:
            with ConsoleClient(self.path) as client:
                while not self._ended.is_set():
                    self._take(client.stats(), time.monotonic())
                    self._ended.wait(self._interval)
        except NoConsole as error:
            self.sample = Sample(self.sample.stats, {}, str(error))

    def _take(self, stats: dict[str, Any], now: float) -> None:
        seconds = now - self._asked
        before, self._asked = self.sample.stats, now
        rates = rates_between(before, stats, seconds) if before else {}
        self.sample = Sample(stats, rates)


@final
class WatchedConsoles:
    """All consoles that a command line means, as they come and go.

    Args:
        target: as for `find_consoles()`.
        interval: seconds between two questions to each.

    Raises:
        NoConsole: There is none.
    """

    def __init__(self, target: str | None, interval: float) -> None:
        self._target = target
        self._interval = interval
        self._looked = time.monotonic()
        self._watched = {path: WatchedConsole(path, interval) for path in find_consoles(target)}

    def look_again(self) -> list[WatchedConsole]:
        """Return the consoles; at each interval those that have ended make room for new ones."""
        if time.monotonic() - self._looked >= self._interval:
            self._looked = time.monotonic()
            try:
                alive = {p for p, each in self._watched.items() if not each.sample.error}
                self._take(find_consoles(self._target, alive))
            except NoConsole:
                pass  # their rows say that they have ended
        return list(self._watched.values())

    def _take(self, found: list[Path]) -> None:
        for path in self._watched.keys() - found:
            self._watched.pop(path).close()
        for path in found:
            if path not in self._watched or self._watched[path].sample.error:
                self._watched[path] = WatchedConsole(path, self._interval)

    def close(self) -> None:
        """Ask no more."""
        for each in self._watched.values():
            each.close()


def rates_between(
    before: dict[str, Any], after: dict[str, Any], seconds: float
) -> dict[str, float]:
    """Return what grew from one answer to the next, for each second."""
    rates = {name: (after[name] - before[name]) / seconds for name in COUNTED}
    rates["accepted"] = (accepted(after) - accepted(before)) / seconds
    return rates


def accepted(stats: dict[str, Any]) -> int:
    """Return the connections that all listeners of a run have accepted."""
    return sum(listener["accepted"] for listener in stats["listeners"])


def accepts_per_wakeup(listener: dict[str, Any]) -> float:
    """Return the mean number of connections for each wake-up; 0 before the first."""
    counts = {int(size): times for size, times in listener["accepts_per_wakeup"].items()}
    wakeups = sum(counts.values())
    return sum(size * times for size, times in counts.items()) / wakeups if wakeups else 0.0
