"""`EventLoop`: an asyncio loop for ``loop_factory``, without a run of mio."""

from __future__ import annotations

from typing import Any, final

from anyio_mio._backend.options import make_kernel
from anyio_mio._kernel.interrupts import Interrupts
from anyio_mio._kernel.run import living_kernels
from anyio_mio.asyncio.callbacks import poll_between
from anyio_mio.asyncio.loop import Loop


@final
class EventLoop(Loop):
    """An asyncio event loop that mio's kernel runs.

    Args:
        **options: the options of the mio backend: ``selector``, ``clock``, ``busy_poll``, …

    Raises:
        TypeError: an option is unknown, or of the wrong type.
        ValueError: an option has no such value.
    """

    def __init__(self, **options: Any) -> None:
        kernel = make_kernel(options)
        super().__init__(kernel)
        kernel.asyncio = self
        living_kernels.add(kernel)
        self._callbacks.on_raise = self._break_off
        self._callbacks.poll = self._poll
        self._raised: BaseException | None = None
        self._must_turn = False

    def run_forever(self) -> None:
        """Run the loop until `stop()` is called."""
        self._check_closed()
        self._check_running()
        kernel, callbacks = self._kernel, self._callbacks
        self._must_turn = True
        callbacks.is_halted, callbacks.is_stopping = False, self._stopping
        if (self._stopping or self._ready) and not callbacks.is_queued:
            callbacks.schedule()
        try:
            with Interrupts(kernel, takes_sigint=False):
                kernel.run_until(self._is_over)
        finally:
            self._stopping = False
        kernel.raise_pending()
        error, self._raised = self._raised, None
        try:
            if error is not None:
                raise error
        finally:
            del error

    def stop(self) -> None:
        """Make `run_forever()` return after the callbacks that are queued now."""
        self._stopping = True
        self._callbacks.is_stopping = True

    def close(self) -> None:
        """Close the loop.

        Raises:
            RuntimeError: the loop is running.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self._closed:
            return
        self._kernel.close()
        living_kernels.discard(self._kernel)

    def _poll(self) -> None:
        """Handle the events that have come and the timers that have expired."""
        kernel = self._kernel
        poll_between(kernel)
        if kernel.deadlines:
            kernel.deadlines.expire(kernel.now())

    def _is_over(self) -> bool:
        if self._must_turn:
            self._must_turn = False
            return False
        return self._stopping

    def _break_off(self, error: BaseException) -> None:
        self._raised = error
        self.stop()


def new_event_loop(**options: Any) -> EventLoop:
    """Make an event loop for an asyncio program: a ``loop_factory``.

    ::

        with asyncio.Runner(loop_factory=anyio_mio.asyncio.new_event_loop) as runner:
            runner.run(main())

    Args:
        **options: see `EventLoop`.
    """
    return EventLoop(**options)
