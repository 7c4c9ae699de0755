"""The shape that AnyIO asks of a backend; what the methods do is tested by AnyIO's own suite."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio._core import _eventloop

from anyio_mio._backend import registration
from anyio_mio._backend.backend import MioBackend
from anyio_mio._kernel.cancel_scope import CancelScope
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.task_group import TaskGroup
from anyio_mio._net.unix_streams import stream_type


def methods() -> dict[str, classmethod[object, ..., object]]:
    """The methods of the installed AnyIO's backends, except those with a meaning of their own."""
    members = vars(anyio.abc.AsyncBackend).items()
    return {name: member for name, member in members if isinstance(member, classmethod)}


def test_no_method_is_missing() -> None:
    """Backends are never instantiated: a missing method would silently return None."""
    assert getattr(MioBackend, "__abstractmethods__") == frozenset()  # noqa: B009 - not in stubs
    assert set(methods()) - set(vars(MioBackend)) == set()


@pytest.mark.parametrize("name", methods())
def test_a_method_is_a_coroutine_function_where_anyio_has_one(name: str) -> None:
    """Mocks of the backend decide by it, and so do AnyIO's own tests."""
    theirs, ours = getattr(anyio.abc.AsyncBackend, name), getattr(MioBackend, name)

    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)


@pytest.mark.parametrize("name", methods())
def test_a_method_takes_the_arguments_that_anyio_gives(name: str) -> None:
    theirs = inspect.signature(getattr(anyio.abc.AsyncBackend, name)).parameters
    ours = inspect.signature(getattr(MioBackend, name)).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in ours.values())

    missing = [
        each.name
        for each in theirs.values()
        if each.name not in ours and not (takes_any and each.kind is inspect.Parameter.KEYWORD_ONLY)
    ]
    assert missing == []


def test_the_kind_of_a_unix_connection_may_be_left_out() -> None:
    """AnyIO before 4.16 does not pass it."""
    kind = inspect.signature(MioBackend.connect_unix).parameters["kind"]

    assert kind.default is not inspect.Parameter.empty


def test_a_worker_thread_is_claimed_as_anyio_claims_one() -> None:
    """The backend writes down itself what `claim_worker_thread()` does."""

    def claims() -> dict[str, object]:
        return {**vars(_eventloop.threadlocals)}

    async def main() -> None:
        kernel, own = running_kernel(), claims()
        with _eventloop.claim_worker_thread(MioBackend, kernel):
            by_anyio = claims()

        assert by_anyio != own
        assert await anyio.to_thread.run_sync(claims) == by_anyio

    anyio.run(main, backend="mio")


def test_registering_again_changes_nothing() -> None:
    before = anyio.get_all_backends()

    registration.register()

    assert anyio.get_all_backends() == before


def test_an_anyio_that_asks_for_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MioBackend, "__abstractmethods__", frozenset({"teleport"}))

    with pytest.raises(ImportError, match=r"teleport.*\n  right: pip install") as caught:
        registration.register()

    assert "tested with anyio 4.14 to 4.16" in str(caught.value)


def test_the_class_of_a_stream_follows_its_socket() -> None:
    import socket

    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        assert stream_type(tcp).__name__ == "SocketStream"
        assert stream_type(unix).__name__ == "UNIXSocketStream"


MADE: dict[str, tuple[Callable[..., Any], dict[str, Any], tuple[str, ...]]] = {
    "scope": (anyio.CancelScope, {"deadline": 1e9, "shield": True}, ("deadline", "shield")),
    "event": (anyio.Event, {}, ()),
    "lock": (anyio.Lock, {"fast_acquire": True}, ("_fast_acquire",)),
    "semaphore": (anyio.Semaphore, {"initial_value": 2, "max_value": 3}, ("value", "max_value")),
    "limiter": (anyio.CapacityLimiter, {"total_tokens": 2}, ("total_tokens", "borrowed_tokens")),
}
"""What makes each object of AnyIO's, with which arguments, and what shows them."""


@pytest.mark.invariant("B3")
@pytest.mark.parametrize("name", MADE)
def test_a_second_init_changes_nothing(name: str) -> None:
    """AnyIO's constructor makes the object through the backend; Python calls __init__ after it."""
    make, arguments, shown = MADE[name]

    async def main() -> tuple[list[object], list[object]]:
        thing = make(**arguments)
        before = [getattr(thing, attribute) for attribute in shown]
        thing.__init__(**arguments)
        return before, [getattr(thing, attribute) for attribute in shown]

    before, after = anyio.run(main, backend="mio")

    assert before == after
    assert before[: len(arguments)] == list(arguments.values())


@pytest.mark.invariant("B2")
def test_what_programs_hold_is_the_kernels_own_object() -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            task = running_kernel().current
            assert isinstance(scope, CancelScope)
            assert task is not None
            assert task.scope is scope
            await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as group:
            assert isinstance(group, TaskGroup)
            assert isinstance(group, anyio.abc.TaskGroup)

    anyio.run(main, backend="mio")
