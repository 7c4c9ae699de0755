"""Limits on what one task or one turn does before other tasks and threads run (K2, K3).

This module has the budgets, the queue that shuffles tasks for tests, and the pause that lets other
threads of the process run.

Budgets, facts. A task that waits is *woken* by an event. A task that could run forever *yields*: at
a checkpoint, or because its budget is spent. Clients wait for the answers of woken tasks, so these
come first. With one queue for both, three clients that sent bulk data made all others wait 40 ms
for each round trip (measured).

A task whose peer has *hung up* has usually no answer to send. Hundreds of clients hang up at once,
for example when a load balancer stops, and to close one takes 20 µs.

Decision. A task that yields goes to a second queue, `Kernel.spent`. A task whose peer has hung up
goes to a third, `Kernel.hung_up`. A turn polls; it steps the woken tasks, and a limited number of
the third queue; then it spends a slice of `SLICE` seconds on the second and third queue, in their
order, and on tasks that these wake. `BUDGET` bounds a task's step, and an operation on many bytes
takes more of it. A step takes some 30 to 130 µs, unless the program computes.

Cost. The kernel reads the clock for some steps of a slice, and not at all if no task yields. A
slice has more steps than a fixed number would allow, so the saved polls pay for the clock.

Other threads, facts. A thread that waits for CPython's lock requests it after five milliseconds,
and starts to count again each time that the lock is free for a moment. A kernel whose tasks never
pause frees the lock at each poll, for the microsecond that a poll without a timeout takes. In that
time another thread cannot wake up and take it. Measured with one task in a loop of checkpoints: a
call in a worker thread, which usually takes 30 µs, took up to twelve seconds.

Decision. While tasks keep running and other threads exist, the kernel sleeps as often as it should
give up the lock, just long enough to lose it. The same call then takes some 7 ms.
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

tokio allows 128 for each poll of a task. Ours is lower, because an operation costs more here. Echo
is the same with 16 to 128, within 3 %, because its receives park. Bare checkpoints gain 8 % from 16
to 64, and 5 % from 64 to 128.
"""

SLICE: Final = 0.0005
"""Seconds of a turn after the woken tasks have run; less if a deadline comes before.

A new wake-up waits at most so long, and for the step that is running. A poll takes 2.5 µs: half of
this value would cost 1 % of a busy program's time, and twice as much would gain nothing.
"""

STEPS_PER_LOOK: Final = 8
"""Steps of a slice between two readings of the clock (looks), while they are quick.

A look takes 50 ns, a bare checkpoint 1 µs.
"""

LOOKS_PER_SLICE: Final = 64
"""The most looks in a slice. They end it if the clock stands still, as a mock clock does."""

QUICK: Final = SLICE / 8
"""Seconds. If more pass between two looks, the next look comes after one step."""

HANG_UPS: Final = 16
"""A turn steps as many tasks of `Kernel.hung_up` as were woken, and this many more.

With 1, a short connection costs 5 % more: the kernel closes it later, when its objects have left
the processor's cache. With 16 and 32 it costs the same as without the queue. Beside bursts of 256
connections, the 99th percentile of a quiet one is 0.66 ms with 1, 0.85 with 16, 1.04 with 32.
"""

EVENTS_PER_POLL: Final = 512

INTERVAL: Final = 0.005
"""Seconds; `sys.getswitchinterval()` unless the program has changed it."""

PAUSE: Final = 1e-6
"""Seconds; on Linux such a sleep takes some 55 µs, one percent of the interval."""


def admit_hung_up(queue: deque[Task], hung_up: deque[Task]) -> None:
    """Move tasks of ``hung_up`` behind the woken ones: as many, and `HANG_UPS` more (K3).

    Each connection is woken at least once before its peer hangs up, so the queue cannot pile up.
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
