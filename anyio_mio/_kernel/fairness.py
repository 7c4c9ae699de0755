"""How much one task, or one turn, may do before others have their turn (K2, K3).

It holds the budgets, the queue that shuffles tasks for tests, and what gives other threads of the
process their turn.

Budgets, facts. Tasks do one of two things: they wait for something and are *woken*, or they could
go on for ever and *yield*, because their budget is spent or by a checkpoint. A client's answer
depends on the first kind; the second kind takes what time it gets. With one queue for both, three
clients that sent bulk data made all others wait 40 ms for each round trip (measured).

A third kind has mostly nothing to answer: tasks whose peer has *hung up*. Clients hang up in
hundreds, when a load balancer or a test ends, and to close each takes 20 µs.

Decision. A task that yields goes to a second queue, `Kernel.spent`, and one whose peer has hung up
to a third, `Kernel.hung_up`. A turn polls, steps what was woken and as many of the third queue, and
ends with a slice: `SLICE` seconds for the tasks of the two other queues, in their order, and for
what is woken while they run. A task's step is bounded by `BUDGET`, from which an operation on
many bytes takes more: a step takes some 30 to 130 µs, unless the program computes.

Cost. A look at the clock for some steps of a slice, and none where nothing yields; the polls that
are saved pay for it, since a slice has more steps than the turns of a fixed number had.

Other threads, facts. A thread that waits for CPython's lock asks for it after five milliseconds,
and starts to count anew each time that the lock is free for a moment. A kernel whose tasks never
pause frees the lock at each poll, for the microsecond that a poll without a timeout takes. That is
too short for another thread to wake up and take it. Measured with one task in a loop of
checkpoints: a call in a worker thread, which takes 30 µs otherwise, took up to twelve seconds.

Decision. While tasks keep running and other threads exist, the kernel sleeps as often as the lock
should have been given up, just long enough to lose it. The same call takes some 7 ms now.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from anyio_mio._kernel.task import Task

BUDGET: Final = 64
"""Units that a task may spend in one step without yielding: 64 checkpoints, 32 small operations on
sockets (`scheduler.OPERATION`), two of 64 KiB.

tokio's is 128 for each poll of a task; ours is lower because an operation costs more here. Echo
does not care (16 to 128: within 3 %), since its receives park; bare checkpoints gain 8 % from 16 to
64 and 5 % from 64 to 128.
"""

SLICE: Final = 0.0005
"""Seconds that a turn goes on after what was woken has run; less if a deadline comes before.

It is what a wake-up waits at most, beside steps that were not yet over. A poll takes 2.5 µs, so
half of it would cost 1 % of the time of a busy program, and twice as much would gain nothing.
"""

STEPS_PER_LOOK: Final = 8
"""Steps of a slice between two looks at the clock, while they are quick.

A look takes 50 ns, a bare checkpoint 1 µs.
"""

LOOKS_PER_SLICE: Final = 64
"""The most looks in a slice: they end it if the clock stands still, as a clock of tests does."""

QUICK: Final = SLICE / 8
"""Seconds between two looks; if they were more, the next look comes after one step."""

HANG_UPS: Final = 16
"""Tasks whose peer has hung up that a turn steps beside as many as were woken.

With 1, a short connection costs 5 % more: it is closed when its objects have left the cache, and
between fewer answers. With 16 and 32 it costs no more than without the queue. Beside bursts of 256
connections, the 99th percentile of a quiet one is 0.66 ms with 1, 0.85 with 16, 1.04 with 32.
"""

EVENTS_PER_POLL: Final = 512

INTERVAL: Final = 0.005
"""Seconds; `sys.getswitchinterval()` unless the program has changed it."""

PAUSE: Final = 1e-6
"""Seconds; on Linux such a sleep takes some 55 µs, one percent of the interval."""


def admit_hung_up(queue: deque[Task], hung_up: deque[Task]) -> None:
    """Put as many tasks of ``hung_up`` behind those that were woken, and `HANG_UPS` more (K3).

    A connection is woken at least once before its end, so what has hung up cannot pile up.
    """
    for _ in range(min(len(queue) + HANG_UPS, len(hung_up))):
        queue.append(hung_up[0])  # in both for a moment; see interrupts.repair()
        hung_up.popleft()


def gil_is_enabled() -> bool:
    """Return whether threads take turns; importing an extension may switch the lock on."""
    ask: Callable[[], bool] | None = getattr(sys, "_is_gil_enabled", None)  # since Python 3.13
    return ask is None or ask()


sleep: Final = time.sleep
"""Taken at import: blockbuster replaces `time.sleep`, and would report our pause as a mistake."""


@final
class OtherThreads:
    """Gives the other threads of the process their turn, if there are any."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def let_run(self) -> None:
        """Let other threads run; called at each turn that polls without a pause."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            if threading.active_count() > 1 and gil_is_enabled():
                sleep(PAUSE)


@final
class ShuffledQueue(deque["Task"]):
    """Gives out the tasks of one generation in a random order, then those of the next.

    A generation is what is in the queue when the one before is used up, so no task is passed over
    (K2). A task takes a random place in its generation when it comes. The kernel takes any deque;
    in its loop this one costs nothing while it is not used.

    Args:
        random: with the same seed it gives the same order, as long as the program behaves the same.
    """

    __slots__ = ("_left", "_random")

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._left = 0  # tasks of the present generation

    def append(self, task: Task, /) -> None:
        """Put a task behind the present generation, at a random place among those of the next."""
        self.insert(self._random.randint(min(self._left, len(self)), len(self)), task)

    def popleft(self) -> Task:
        """Take out the first task; the next generation begins when none of the present is left."""
        left = min(self._left, len(self)) or len(self)
        task = super().popleft()
        self._left = left - 1
        return task


def stand_still() -> float:
    """Return 0.0: with this clock a slice ends by its number of steps alone."""
    return 0.0
