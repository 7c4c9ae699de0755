"""The watchdog: names a task that blocks the loop, while it still blocks.

Facts. A task that computes, sleeps in `time.sleep()` or waits for a lock of `threading` stops every
other task of the run. The run itself cannot report this, because it does not run.

Consequences. Another thread must watch. It can see the task that is being stepped, the stack of the
run's thread, and a number that changes at each turn.

Decision. The thread looks four times in each period of the limit. If it sees the same task in the
same turn for longer than the limit, it logs the task and its stack. When the step is over, it logs
the length. A task that never yields is logged again when it has run ten times as long as at the
last report, with the line where it is then. A C function that holds the interpreter's lock stops
the watchdog's thread too. CPython gives the lock to other threads right after such a call, so the
thread still sees the line with the call.

Cost. While it is on, a thread wakes up four times in each period of the limit. While it is off,
nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from anyio_mio._kernel.kernel import Kernel
    from anyio_mio._kernel.task import Task

LOGGER: Final = logging.getLogger("anyio_mio.watchdog")

LOOKS_PER_LIMIT: Final = 4
AGAIN: Final = 10
"""The factor from one report about a step to the next one."""

OURS: Final = f"{__name__.partition('.')[0]}."

SHORTEST_PAUSE: Final = 0.002
"""The least seconds between two looks: each look takes the interpreter's lock from the run."""


@final
class Watchdog:
    """Watches one run from its own thread; a context manager around the run.

    Args:
        kernel: the run.
        limit: how long a step may take, in seconds.
    """

    def __init__(self, kernel: Kernel, limit: float) -> None:
        self._kernel = kernel
        self._limit = limit
        self._seen: tuple[int, Task | None] = (-1, None)
        self._since = 0.0
        self._is_slow = False
        self._blamed = ""
        self._next_report = limit
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="anyio_mio watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = max(self._limit / LOOKS_PER_LIMIT, SHORTEST_PAUSE)
        looked = time.monotonic()
        while not self._ended.wait(pause):
            before, looked = looked, time.monotonic()
            self._look(looked, before if looked - before - pause >= self._limit else looked)
        self._look_at_other(looked, (self._kernel.turns, None))

    def _look(self, now: float, since: float) -> None:
        """Look at the run, and compare with the last look.

        Args:
            now: the time.
            since: the earliest time at which a step may have begun that is seen for the first time.
                It is earlier than ``now`` if this thread could not run either.
        """
        seen = (self._kernel.turns, self._kernel.current)
        if seen != self._seen:
            self._look_at_other(since, seen)
        if now - self._since >= self._next_report and self._is_busy():
            self._kernel.slow_steps += not self._is_slow
            self._is_slow = True
            self._next_report = AGAIN * (now - self._since)
            self._blamed = self._name(seen[1])
            self._report(now - self._since)

    def _look_at_other(self, since: float, seen: tuple[int, Task | None]) -> None:
        """Handle a look that sees another step, or another turn, than the last one."""
        if self._is_slow:
            self._report_end(since - self._since)
        self._seen, self._since, self._is_slow = seen, since, False
        self._next_report = self._limit

    def _is_busy(self) -> bool:
        """Return whether the run's thread does anything other than wait in its poll."""
        frame = sys._current_frames().get(self._kernel.thread)
        return frame is not None and "poll" not in frame.f_globals.get("__name__", "").split(".")

    def _name(self, task: Task | None) -> str:
        """Name what runs: a task, or the callbacks and asyncio's tasks between two steps."""
        if task is not None:
            return f"task {task.name!r}"
        loop = self._kernel.asyncio
        name = loop.running_task() if loop is not None else ""
        return f"asyncio task {name!r}" if name else "a callback"

    def _report(self, seconds: float) -> None:
        stack = "".join(traceback.format_list(self._stack()))
        LOGGER.warning(
            "%s has blocked the event loop for %.2f s; it is here:\n%s",
            self._blamed,
            seconds,
            stack,
        )

    def _report_end(self, seconds: float) -> None:
        LOGGER.warning("%s blocked the event loop for %.2f s in one step", self._blamed, seconds)

    def _stack(self) -> traceback.StackSummary:
        frame = sys._current_frames().get(self._kernel.thread)
        frames: list[tuple[FrameType, int]] = []
        while frame is not None and frame.f_code is not self._kernel.step_code:
            frames.append((frame, frame.f_lineno))
            frame = frame.f_back
        return traceback.StackSummary.extract(without_callers(frames))


def without_callers(frames: list[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    """Return a stack, the outermost frame first, without our own frames that call the program.

    Args:
        frames: the innermost first. If all are ours, all are returned.
    """
    end = len(frames)
    while end and frames[end - 1][0].f_globals.get("__name__", "").startswith(OURS):
        end -= 1
    return frames[: end or None][::-1]
