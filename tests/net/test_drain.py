"""The drain of a listener, against scripts of what ``accept()`` says."""

from __future__ import annotations

import logging
import socket
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._net.accept_errors import MANY_IN_A_ROW, AcceptErrorKind
from anyio_mio._net.acceptor import ACCEPT_BATCH
from anyio_mio._net.arguments import task_name
from anyio_mio._net.listeners import SocketListener
from anyio_mio._net.streams import SocketStream
from anyio_mio._reactor.registration import WAKES_READER
from tests.net.scripted import CONNECTION, NO_ADDRESS, run, scripted

ONE_CONNECTION = ["ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN", "EINTR"]
CAPACITY = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]


def close(stream: SocketStream) -> None:
    stream._close()


@pytest.mark.invariant("N1")
def test_it_accepts_until_wouldblock() -> None:
    async def main() -> None:
        with scripted(*[CONNECTION] * 5) as (listener, script):
            assert listener.acceptor.drain(close, ACCEPT_BATCH) == 5
            assert script.calls == 6
            assert not listener._registration.ready & WAKES_READER

    run(main)


@pytest.mark.invariant("N1")
def test_a_spent_batch_goes_on_without_a_new_edge() -> None:
    async def main() -> None:
        with scripted(*[CONNECTION] * 150) as (listener, _):
            turns = [listener.acceptor.drain(close, ACCEPT_BATCH)]
            while listener._registration.ready & WAKES_READER:
                turns.append(listener.acceptor.drain(close, ACCEPT_BATCH))
            assert turns == [64, 64, 22]
            assert listener.statistics().accepts_per_wakeup == {64: 2, 22: 1}

    run(main)


@pytest.mark.invariant("N1")
def test_after_a_spent_batch_the_others_have_their_turn() -> None:
    async def main() -> None:
        with scripted(*[CONNECTION] * 200) as (listener, _):
            turns: list[int] = []  # how many were accepted and handled when another task had one

            async def handle(stream: SocketStream) -> None:
                handled.append(stream)
                close(stream)

            handled: list[SocketStream] = []
            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, handle)
                while len(handled) < 200:
                    await anyio.lowlevel.checkpoint()
                    turns.append(len(handled))
                group.cancel_scope.cancel()

            steps = [after - before for before, after in pairwise(turns)]
            assert max(steps) <= ACCEPT_BATCH

    run(main)


@pytest.mark.invariant("N1")
def test_a_batch_of_one_lets_the_others_run_after_each_connection() -> None:
    async def main() -> None:
        with scripted(*[CONNECTION] * 20) as (listener, script):
            turns = [0]

            async def note_turns() -> None:
                while script.calls <= 20:
                    turns.append(script.calls)
                    await anyio.lowlevel.checkpoint()

            async def accept_all() -> None:
                while script.calls <= 20:
                    await listener.acceptor.wait_until_ready()
                    listener.acceptor.drain(close, 1)

            async with anyio.create_task_group() as group:
                group.start_soon(accept_all)
                group.start_soon(note_turns)

            assert max(after - before for before, after in pairwise(turns)) == 1

    run(main)


@pytest.mark.invariant("N3")
@pytest.mark.parametrize("error", ONE_CONNECTION)
def test_an_error_of_one_connection_concerns_no_other(error: str) -> None:
    async def main() -> None:
        with scripted(CONNECTION, error, CONNECTION) as (listener, _):
            assert listener.acceptor.drain(close, ACCEPT_BATCH) == 2
            assert listener.statistics().aborted == 1
            assert listener.statistics().backed_off == 0

    run(main)


def test_an_error_costs_a_unit_of_the_batch() -> None:
    async def main() -> None:
        with scripted(*["ECONNABORTED"] * 3, *[CONNECTION] * 9) as (listener, script):
            assert listener.acceptor.drain(close, 5) == 2
            assert script.calls == 5

    run(main)


@pytest.mark.invariant("N3")
def test_many_errors_in_a_row_back_off() -> None:
    async def main() -> None:
        with scripted(*["EPERM"] * 200) as (listener, script):
            listener.acceptor.drain(close, 1000)
            assert script.calls == MANY_IN_A_ROW + 1
            assert listener.statistics().paused_until > 0
            listener.acceptor.drain(close, 1000)
            assert script.calls == MANY_IN_A_ROW + 2

    run(main)


def test_errors_between_successes_are_not_in_a_row() -> None:
    async def main() -> None:
        with scripted(*["EPERM", CONNECTION] * 100) as (listener, _):
            assert listener.acceptor.drain(close, 1000) == 100
            assert listener.statistics().backed_off == 0

    run(main)


@pytest.mark.invariant("N3")
@pytest.mark.parametrize("error", CAPACITY)
def test_running_out_keeps_what_is_queued_and_tries_again(error: str) -> None:
    async def main() -> None:
        with scripted(CONNECTION, error, error, CONNECTION) as (listener, script):
            first = await listener.accept()
            listener.acceptor.drain(close, ACCEPT_BATCH)
            assert listener._registration.ready & WAKES_READER
            second = await listener.accept()  # by the timer alone: nothing makes an edge
            assert script.times[-1] > script.times[0]
            assert listener.statistics().backed_off == 2
            assert listener.statistics().paused_until == 0
            first._close()
            second._close()

    run(main)


def test_a_success_before_running_out_starts_with_the_short_delay() -> None:
    async def main() -> None:
        with scripted(*["EMFILE"] * 9, CONNECTION, "EMFILE") as (listener, _):
            for _ in range(10):
                listener.acceptor.drain(close, ACCEPT_BATCH)
            delay = listener.statistics().paused_until - anyio.current_time()
            assert 0 < delay <= 0.006

    run(main)


def test_the_line_that_all_is_well_does_not_follow_one_that_it_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        with scripted(CONNECTION, "EMFILE") as (listener, _):
            listener.acceptor.drain(close, ACCEPT_BATCH)

    caplog.set_level(logging.INFO)
    run(main)

    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("error", ["EFAULT", "ENOSYS", "EINVAL"])
def test_a_bug_is_raised_with_a_note_of_where(error: str) -> None:
    async def main() -> None:
        with scripted(CONNECTION, error) as (listener, _):
            with pytest.raises(OSError, match=r"Errno") as caught:
                listener.acceptor.drain(close, ACCEPT_BATCH)
            assert any("while accepting on" in note for note in caught.value.__notes__)
            assert listener.statistics().accepted == 1

    run(main)


def test_a_listener_that_was_shut_down_is_closed() -> None:
    async def main() -> None:
        with scripted("EINVAL") as (listener, _):
            listener._sock.shutdown(socket.SHUT_RDWR)
            with pytest.raises(anyio.ClosedResourceError):
                listener.acceptor.drain(close, ACCEPT_BATCH)

    run(main)


@pytest.mark.parametrize("error", ["EBADF", "ENOTSOCK", "EMFILE", "EPERM"])
def test_errors_after_closing_say_that_it_is_closed(error: str) -> None:
    async def main() -> None:
        with scripted(error) as (listener, _):
            listener._close()
            with pytest.raises(anyio.ClosedResourceError):
                listener.acceptor.drain(close, ACCEPT_BATCH)

    run(main)


@pytest.mark.invariant("N4")
def test_closing_ends_a_back_off() -> None:
    async def main() -> None:
        with scripted(*["EMFILE"] * 10) as (listener, _):
            for _ in range(8):
                listener.acceptor.drain(close, 1)

            async def close_it() -> None:
                await anyio.wait_all_tasks_blocked()
                listener._close()

            before = anyio.current_time()
            async with anyio.create_task_group() as group:
                group.start_soon(close_it)
                with pytest.raises(anyio.ClosedResourceError):
                    await listener.accept()
            assert anyio.current_time() == before

    run(main)


@pytest.mark.invariant("N3")
def test_a_socket_closed_before_the_wait_began_ends_it_as_well() -> None:
    """The accepting task has no budget left, so that others run before it waits."""

    async def main() -> None:
        ours, peer = socket.socketpair()
        stream = await anyio.abc.UNIXSocketStream.from_socket(ours)
        with peer, scripted(*["EMFILE"] * 8, CONNECTION) as (listener, _):
            for _ in range(8):
                listener.acceptor.drain(close, 1)
            before = anyio.current_time()
            async with anyio.create_task_group() as group:
                group.start_soon(stream.aclose)
                listener._scheduler.budget = 0
                (await listener.accept())._close()
            assert anyio.current_time() == before

    run(main)


@pytest.mark.invariant("N2")
def test_a_hand_over_that_raises_closes_the_stream() -> None:
    def refuse(stream: object) -> None:
        raise LookupError("nobody is at home")

    async def main() -> None:
        with scripted(CONNECTION, CONNECTION) as (listener, script):
            with pytest.raises(LookupError):
                listener.acceptor.drain(refuse, ACCEPT_BATCH)
            assert script.alive() == 0
            assert listener.statistics().open == 0
            assert listener.statistics().accepted == 1

    run(main)


@pytest.mark.invariant("N2")
def test_what_was_accepted_before_a_hand_over_that_raises_is_counted() -> None:
    streams: list[SocketStream] = []

    def take_two(stream: SocketStream) -> None:
        if len(streams) == 2:
            raise LookupError("full")
        streams.append(stream)

    async def main() -> None:
        with scripted(*[CONNECTION] * 3) as (listener, script):
            with pytest.raises(LookupError):
                listener.acceptor.drain(take_two, ACCEPT_BATCH)
            assert script.alive() == 2
            assert listener.statistics().accepts_per_wakeup == {3: 1}
            for stream in streams:
                stream._close()

    run(main)


@pytest.mark.invariant("N3")
def test_a_connection_that_cannot_be_set_up_concerns_no_other() -> None:
    fail = ["the first"]

    def stream_type(sock: socket.socket, reactor: Any) -> SocketStream:
        if fail:
            fail.clear()
            raise OSError(22, "Invalid argument")
        return SocketStream(sock, reactor)

    async def main() -> None:
        with scripted(CONNECTION, CONNECTION) as (listener, script):
            listener.acceptor._make_stream = stream_type
            assert listener.acceptor.drain(close, ACCEPT_BATCH) == 1
            assert listener.statistics().aborted == 1
            assert script.alive() == 0

    run(main)


def test_a_connection_without_an_address_is_closed_and_the_next_one_served() -> None:
    async def main() -> None:
        with scripted(NO_ADDRESS, CONNECTION) as (listener, script):
            assert listener.acceptor.drain(close, ACCEPT_BATCH) == 1
            assert script.alive() == 0
            assert listener.statistics().aborted == 1

    run(main)


def refuse_to_answer(error: OSError, kind: AcceptErrorKind) -> AcceptErrorKind:
    raise LookupError("a bug in the hook")


WRONG_ANSWERS: list[Any] = [refuse_to_answer, lambda *_: "skip", lambda *_: True]


@pytest.mark.parametrize("hook", WRONG_ANSWERS)
def test_a_hook_that_fails_or_answers_nonsense_is_logged_and_the_default_applies(
    hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with scripted("ECONNABORTED", "EMFILE", "EMFILE") as (listener, _):
            for _ in range(3):
                listener.acceptor.drain(close, ACCEPT_BATCH, hook)
            assert listener.statistics().aborted == 1
            assert listener.statistics().backed_off == 2

    run(main)
    assert sum("on_accept_error" in message for message in caplog.messages) == 1


def test_a_hook_that_skips_everything_cannot_make_the_loop_spin() -> None:
    async def main() -> None:
        with scripted(*["EMFILE"] * 1000) as (listener, script):
            listener.acceptor.drain(close, 1000, lambda *_: AcceptErrorKind.SKIP)
            assert script.calls == MANY_IN_A_ROW + 1

    run(main)


def test_the_hook_overrules_the_kind() -> None:
    seen: list[tuple[int | None, AcceptErrorKind]] = []

    def give_up(error: OSError, kind: AcceptErrorKind) -> AcceptErrorKind:
        seen.append((error.errno, kind))
        return AcceptErrorKind.RAISE

    async def main() -> None:
        with scripted("EMFILE") as (listener, _):
            with pytest.raises(OSError, match="open files"):
                listener.acceptor.drain(close, 1, give_up)
            assert listener.statistics().backed_off == 0

    run(main)

    assert [kind for _, kind in seen] == [AcceptErrorKind.BACK_OFF]


def test_the_counters_tell_what_happened() -> None:
    streams: list[SocketStream] = []

    async def main() -> None:
        with scripted(CONNECTION, "ECONNABORTED", CONNECTION, "EMFILE") as (listener, _):
            listener.acceptor.drain(streams.append, ACCEPT_BATCH)
            figures = listener.statistics()
            assert (figures.accepted, figures.aborted, figures.backed_off) == (2, 1, 1)
            assert (figures.open, figures.shed, figures.last_errno) == (2, 0, 24)
            assert figures.paused_until > anyio.current_time()
            for stream in streams:
                stream._close()
            assert listener.statistics().open == 0

    run(main)


class Noting(socket.socket):
    """A socket that notes which options are set on it."""

    def __init__(self, family: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self.options: list[tuple[int, int]] = []

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        self.options.append((level, option))
        super().setsockopt(level, option, *value)


@pytest.mark.parametrize(
    "family, is_asked",
    [("AF_INET", True), ("AF_INET6", True), ("AF_UNIX", False), ("AF_VSOCK", False)],
)
def test_only_tcp_listeners_are_asked_for_no_delay(family: str, is_asked: bool) -> None:
    async def main() -> None:
        try:
            sock = Noting(getattr(socket, family))
        except (AttributeError, OSError) as error:
            pytest.skip(f"no such sockets here: {error}")
        sock.setblocking(False)
        SocketListener(sock, running_kernel().reactor)._close()

        asked = (socket.IPPROTO_TCP, socket.TCP_NODELAY) in sock.options
        assert asked is is_asked

    run(main)


def test_handlers_are_named_as_start_soon_names_them() -> None:
    names: list[str | None] = []

    async def note_name(*streams: SocketStream) -> None:
        names.append(anyio.get_current_task().name)
        for stream in streams:
            close(stream)

    async def main() -> None:
        with scripted(CONNECTION) as (listener, _):
            async with anyio.create_task_group() as group:
                for handler in (note_name, partial(note_name)):
                    group.start_soon(handler)
                group.start_soon(listener.serve, note_name)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()

    run(main)
    qualified = f"{__name__}.{note_name.__qualname__}"
    assert names == [qualified, "functools", qualified]
    assert task_name(note_name) == qualified
    assert task_name(partial(note_name)) == "functools"
