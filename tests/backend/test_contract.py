"""The shape that AnyIO asks of a backend; what the methods do is tested by AnyIO's own suite."""

from __future__ import annotations

import inspect

import anyio
import anyio.abc
import anyio.to_thread
import pytest
from anyio._core import _eventloop

from anyio_mio._backend import registration
from anyio_mio._backend.backend import MioBackend
from anyio_mio._kernel.kernel import running_kernel
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
