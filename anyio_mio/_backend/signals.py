"""Signal receivers: an async iterator over signals that arrive while it is open."""

from __future__ import annotations

import signal
from collections import OrderedDict
from functools import partial
from types import FrameType, TracebackType
from typing import Any, final

from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio._kernel.task import Task
from anyio_mio._reactor.scheduler import Wait


@final
class SignalReceiver:
    """Yields each signal as it arrives. A signal that is pending already is not added again.

    When it closes, the previous handler gets the signals that are left.
    """

    def __init__(self, signals: tuple[signal.Signals, ...]) -> None:
        self._signals = signals
        self._kernel: Kernel | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._pending: dict[signal.Signals, None] = {}
        self._waiters: OrderedDict[Task, None] = OrderedDict()

    def __enter__(self) -> SignalReceiver:
        self._kernel = running_kernel()
        try:
            for number in set(self._signals):
                self._previous[number] = signal.signal(number, self._handle)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._restore()
        for number in self._pending:
            signal.raise_signal(number)

    def __aiter__(self) -> SignalReceiver:
        return self

    async def __anext__(self) -> signal.Signals:
        kernel = running_kernel()
        await kernel.checkpoint()
        while not self._pending:
            task = kernel.current
            assert task is not None
            self._waiters[task] = None
            try:
                await kernel.park(self)
            except BaseException:
                self._waiters.pop(task, None)  # a signal's handler has raised before the wait
                raise
        number = next(iter(self._pending))
        del self._pending[number]
        return number

    def abort(self, task: Task, /) -> bool:
        """Remove a cancelled waiter; return False if a signal has woken it."""
        if task not in self._waiters:
            return False
        del self._waiters[task]
        return True

    def describe(self, task: Task, /) -> Wait:
        """Name the signals."""
        return Wait("a signal: " + ", ".join(number.name for number in self._signals))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        assert self._kernel is not None
        self._kernel.entry.put(partial(self._deliver, signal.Signals(number)))

    def _deliver(self, number: signal.Signals) -> None:
        self._pending[number] = None
        if self._waiters:
            task = next(iter(self._waiters))
            del self._waiters[task]  # no call from here on: a signal's handler cannot come between
            task.kernel.run_queue.append(task)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
