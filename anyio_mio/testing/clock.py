"""A clock that the test moves."""

from __future__ import annotations

from math import inf, isnan
from typing import final


@final
class MockClock:
    """A clock that moves by `jump()`, or by itself when the program only waits for the time.

        clock = MockClock(autojump=0)
        anyio_mio.run(main, clock=clock)  # main's sleeps take no time, and end in the right order

    With the fixtures ``mio_mock_clock`` and ``mio_autojump_clock``, in a test module::

        @pytest.fixture
        def anyio_backend(mio_autojump_clock):
            return "mio", {"clock": mio_autojump_clock}

    Args:
        start: the first time, in seconds.
        autojump: None to move by `jump()` alone. Otherwise a number of *real* seconds: when every
            task has waited so long without an event of a socket or a thread, the clock jumps to
            the next deadline. 0 suits a program without worker threads and other processes; give
            more to a program that waits for these.

    Attributes:
        autojump: see above; a program may change it at any time.
    """

    __slots__ = ("_now", "autojump")

    def __init__(self, start: float = 0.0, *, autojump: float | None = None) -> None:
        self._now = start
        self.autojump: float | None = autojump

    def __repr__(self) -> str:
        mode = "" if self.autojump is None else f", autojump={self.autojump}"
        return f"MockClock({self._now}{mode})"

    def now(self) -> float:
        """Return the current time, in seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock. All deadlines up to then pass before the next step of any task.

        In another thread, call ``anyio.from_thread.run_sync(clock.jump, seconds)``.

        Args:
            seconds: how far to move.

        Raises:
            ValueError: ``seconds`` is negative, infinite or NaN.
        """
        if not 0 <= seconds < inf or isnan(seconds):
            raise ValueError(f"time goes forward, and by a number of seconds, not by {seconds!r}")
        self._now += seconds

    def time_to_wait(self, deadline: float) -> float | None:
        """Return the real seconds to wait for other events; the kernel calls this."""
        if deadline <= self._now:
            return 0
        return None if deadline == inf else self.autojump

    def quiet(self, deadline: float) -> None:
        """Note that no other event has happened; the kernel calls this."""
        if self.autojump is not None and self._now < deadline < inf:
            self._now = deadline
