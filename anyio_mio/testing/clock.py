"""A clock that stands still until it is moved."""

from __future__ import annotations

from math import inf, isnan
from typing import final


@final
class MockClock:
    """Time that a test moves: by `jump`, or by itself when the program only waits for it.

        clock = MockClock(autojump=0)
        anyio_mio.run(main, clock=clock)  # main's sleeps take no time, and end in the right order

    With the fixtures ``mio_mock_clock`` and ``mio_autojump_clock``, in a test module::

        @pytest.fixture
        def anyio_backend(mio_autojump_clock):
            return "mio", {"clock": mio_autojump_clock}

    Args:
        start: what `now` says first, in seconds.
        autojump: None to move by `jump` alone. Otherwise, when every task waits and neither sockets
            nor threads have reported anything for so many *real* seconds, the time jumps to the
            next deadline. 0 is right for programs that keep to their process; one that waits for
            worker threads or for other processes should give them a moment.

    Attributes:
        autojump: see above; may be changed at any time.
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
        """Move on; what is due by then happens before the next step of any task.

        From another thread, go through ``anyio.from_thread.run_sync(clock.jump, seconds)``.

        Args:
            seconds: how far.

        Raises:
            ValueError: ``seconds`` is negative, infinite or NaN.
        """
        if not 0 <= seconds < inf or isnan(seconds):
            raise ValueError(f"time goes forward, and by a number of seconds, not by {seconds!r}")
        self._now += seconds

    def time_to_wait(self, deadline: float) -> float | None:
        """Return the real seconds to wait for something else to happen; the kernel asks."""
        if deadline <= self._now:
            return 0
        return None if deadline == inf else self.autojump

    def quiet(self, deadline: float) -> None:
        """Note that nothing else has happened; the kernel calls this."""
        if self.autojump is not None and self._now < deadline < inf:
            self._now = deadline
