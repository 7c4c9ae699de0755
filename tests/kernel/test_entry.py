"""The entry queue: what other threads and signal handlers hand in is run, in order, and in time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import anyio
import pytest

from anyio_mio._kernel.entry import EntryQueue
from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio.poll.waker import Waker
from tests.kernel.harness import make_kernel, run


class CountingWaker(Waker):  # type: ignore[misc]
    """Counts its rings."""

    rings = 0

    def wake(self) -> None:
        self.rings += 1


@pytest.fixture
def waker() -> CountingWaker:
    return CountingWaker()


def note(error: BaseException) -> None:
    raise AssertionError from error


@pytest.mark.invariant("K8")
def test_a_burst_rings_once(waker: CountingWaker) -> None:
    with waker:
        queue = EntryQueue(waker)

        for _ in range(5):
            queue.put(lambda: None)

        assert waker.rings == 1
        assert queue.lower_flag() == 5


def test_what_comes_after_a_burst_was_taken_rings_again(waker: CountingWaker) -> None:
    with waker:
        queue = EntryQueue(waker)
        queue.put(lambda: None)
        queue.run(note)

        queue.put(lambda: None)

        assert waker.rings == 2


def test_the_kernel_that_is_woken_need_not_wait_for_the_thread_that_wakes_it() -> None:
    """A thread gives the interpreter's lock up in the system call that wakes the kernel."""

    class Impatient(CountingWaker):  # type: ignore[misc]
        def wake(self) -> None:
            super().wake()
            kernel = threading.Thread(target=lambda: arrived.append(queue.lower_flag()))
            kernel.start()
            kernel.join(5)

    arrived: list[int] = []
    with Impatient() as waker:
        queue = EntryQueue(waker)

        queue.put(lambda: None)

    assert arrived == [1]


def test_a_wake_up_that_a_signal_has_cut_short_is_made_up_for_by_the_next(
    waker: CountingWaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: CountingWaker) -> None:
        raise KeyboardInterrupt

    with waker:
        queue = EntryQueue(waker)
        with monkeypatch.context() as patch:
            patch.setattr(CountingWaker, "wake", interrupt)
            with pytest.raises(KeyboardInterrupt):
                queue.put(lambda: None)

        queue.put(lambda: None)

        assert waker.rings == 1


class Interrupted(EntryQueue):  # type: ignore[misc]
    """A signal handler puts something in at the worst moments of `run()`."""

    handler: Callable[[], object] | None = None

    def _interrupt(self) -> None:
        handler, self.handler = self.handler, None
        if handler is not None:
            handler()

    def __len__(self) -> int:
        self._interrupt()
        return super().__len__()

    def delete_after_interrupt(self, index: int) -> None:
        self._interrupt()
        super().__delitem__(index)


@pytest.mark.parametrize("moment", ["counting", "popping"])
def test_a_signal_in_the_midst_of_taking_leaves_the_flag_and_the_queue_in_step(
    waker: CountingWaker, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The flag stayed up over an empty queue, and whatever came next woke nobody.
    with waker:
        queue = Interrupted(waker)
        queue.put(lambda: None)
        if moment == "popping":
            monkeypatch.setattr(Interrupted, "__delitem__", Interrupted.delete_after_interrupt)
        queue.handler = lambda: queue.put(lambda: None)

        queue.run(note)
        left, rings = sum(1 for _ in queue), waker.rings
        queue.put(lambda: None)

        assert left or waker.rings == rings + 1


def test_nothing_is_accepted_after_closing(waker: CountingWaker) -> None:
    with waker:
        queue = EntryQueue(waker)
        queue.close()

        assert queue.put(lambda: None) is False


def test_closing_refuses_what_was_not_run(waker: CountingWaker) -> None:
    refused = []

    class Call:
        def __call__(self) -> None:
            raise AssertionError

        def refuse(self) -> None:
            refused.append(self)

        def fail(self, error: BaseException, /) -> bool:
            raise AssertionError

    with waker:
        queue = EntryQueue(waker)
        call = Call()
        queue.put(call)
        queue.put(lambda: None)

        queue.close()

    assert refused == [call]


def test_entries_of_many_threads_all_run_in_the_order_of_each_thread() -> None:  # noqa: C901
    threads, each = 4, 300
    seen: list[tuple[int, int]] = []

    async def main() -> None:
        kernel = running_kernel()
        done = anyio.Event()

        def note(thread: int, index: int) -> None:
            seen.append((thread, index))
            if len(seen) == threads * each:
                done.set()

        def work(thread: int) -> None:
            for index in range(each):
                kernel.entry.put(partial(note, thread, index))

        workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
        for worker in workers:
            worker.start()
        with anyio.fail_after(10):
            await done.wait()
        for worker in workers:
            worker.join()

    anyio.run(main, backend="mio")

    for thread in range(threads):
        assert [index for number, index in seen if number == thread] == list(range(each))


def test_a_crashing_callback_ends_the_run_with_its_error() -> None:
    async def main(kernel: Kernel) -> None:
        await kernel.sleep(1)

    kernel = make_kernel()
    kernel.entry.put(lambda: 1 / 0)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main, kernel)

    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


def test_a_crash_does_not_hide_the_error_of_the_program() -> None:
    async def main(kernel: Kernel) -> None:
        try:
            await kernel.sleep(1)
        finally:
            raise KeyError("the program's own")

    kernel = make_kernel()
    kernel.entry.put(lambda: 1 / 0)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main, kernel)

    assert {type(error) for error in caught.value.exceptions} == {ZeroDivisionError, KeyError}


def test_the_callbacks_after_a_crashing_one_run() -> None:
    seen = []

    async def main(kernel: Kernel) -> None:
        await kernel.sleep(1)

    kernel = make_kernel()
    kernel.entry.put(lambda: 1 / 0)
    kernel.entry.put(lambda: seen.append("second"))

    with pytest.raises(BaseExceptionGroup):
        run(main, kernel)

    assert seen == ["second"]
