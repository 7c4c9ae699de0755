"""AnyIO's private names: each copy does what AnyIO does, or AnyIO's own code runs."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio import TaskHandle
from anyio._core import _eventloop

import anyio_mio  # noqa: F401 - registers the backend
from anyio_mio._backend import anyio_internals
from anyio_mio._backend.backend import MioBackend
from anyio_mio._backend.threads import threads_of
from anyio_mio._kernel.kernel import running_kernel

pytestmark = pytest.mark.anyio


async def double(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    if number < 0:
        raise ValueError(number)
    return 2 * number


async def run_one_after_the_other() -> tuple[TaskHandle[int], TaskHandle[int]]:
    """A task that returns and a task that raises."""
    with suppress(ExceptionGroup):
        async with anyio.create_task_group() as group:
            good = group.start_soon(double, 2, name="good")
            await good.wait()
            bad = group.start_soon(double, -2)
    return good, bad


async def test_the_installed_anyio_is_known() -> None:
    assert anyio_internals.probe_handles()
    assert anyio_internals.probe_claim(MioBackend, object())
    assert anyio_internals.probe_table("mio", MioBackend)


async def test_a_new_handle_holds_what_anyios_constructor_puts_into_it() -> None:
    coro = double(1)

    assert anyio_internals.contents(
        anyio_internals.new_handle(coro, "x")
    ) == anyio_internals.contents(TaskHandle(coro, "x"))
    assert anyio_internals.contents(
        anyio_internals.new_handle(coro, None)
    ) == anyio_internals.contents(TaskHandle(coro, None))

    coro.close()


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_handle_tells_how_its_task_ended(
    is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anyio_internals, "handles_are_known", is_known)

    good, bad = await run_one_after_the_other()

    assert (good.name, good.status, good.return_value) == ("good", TaskHandle.Status.FINISHED, 4)
    assert bad.name == f"{__name__}.double"
    assert bad.status is TaskHandle.Status.FAILED
    assert isinstance(bad.exception, ValueError)


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_handle_cancels_its_task_alone(
    is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anyio_internals, "handles_are_known", is_known)

    async with anyio.create_task_group() as group:
        sleeper = group.start_soon(anyio.sleep_forever)
        other = group.start_soon(double, 3)
        await anyio.lowlevel.checkpoint()
        sleeper.cancel()

    assert sleeper.status is TaskHandle.Status.CANCELLED
    assert other.return_value == 6


async def test_another_constructor_of_handles_is_seen_logged_once_and_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = TaskHandle.__init__

    def construct(self: TaskHandle[int], *args: object) -> None:
        original(self, *args)  # type: ignore[arg-type]
        self._name += "!"

    monkeypatch.setattr(anyio_internals, "uses", lambda *_: True)
    monkeypatch.setattr(anyio_internals, "handles_are_known", None)
    monkeypatch.setattr(TaskHandle, "__init__", construct)

    good, _ = await run_one_after_the_other()

    assert (good.name, good.return_value) == ("good!", 4)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "task handles" in caplog.text


async def test_another_end_of_tasks_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_coro(self: TaskHandle[int]) -> None:
        with self._cancel_scope:
            self._return_value = await self._coro
        self._finished_event.set()  # after the scope, and without the error

    monkeypatch.setattr(anyio_internals, "uses", lambda *_: True)
    monkeypatch.setattr(TaskHandle, "_run_coro", run_coro)

    assert not anyio_internals.probe_handles()


def test_a_name_that_anyios_code_did_not_use_makes_a_copy_unsafe() -> None:
    assert not anyio_internals.uses(double, {"anyio"})


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_worker_thread_finds_the_way_back(
    is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anyio_internals, "claims_are_known", is_known)
    kernel = running_kernel()
    call = anyio_internals.worker_call(MioBackend, kernel)
    monkeypatch.setattr(threads_of(MioBackend, kernel), "call_in_thread", call)

    assert await anyio.to_thread.run_sync(anyio.from_thread.run, double, 4) == 8


async def test_another_claim_of_a_thread_is_seen_logged_once_and_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def claim(backend: object, token: object) -> Iterator[None]:
        _eventloop.threadlocals.another = token
        with _eventloop.claim_worker_thread(backend, token):  # type: ignore[arg-type]
            yield

    monkeypatch.setattr(anyio_internals, "uses", lambda *_: True)
    monkeypatch.setattr(anyio_internals, "claims_are_known", None)
    monkeypatch.setattr(anyio_internals, "claim_worker_thread", claim)

    calls = [anyio_internals.worker_call(MioBackend, object()) for _ in range(2)]

    assert all(getattr(call, "func", None) is anyio_internals.call_claimed for call in calls)
    assert ["claim_worker_thread" in record.message for record in caplog.records] == [True]


async def test_a_probe_keeps_nothing_of_the_program_that_starts_its_first_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Local:
        pass

    async def program() -> weakref.ref[Local]:
        local = Local()
        monkeypatch.setattr(anyio_internals, "handles_are_known", None)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.lowlevel.checkpoint)
        return weakref.ref(local)

    gc.disable()
    try:
        assert (await program())() is None
    finally:
        gc.enable()
    assert anyio_internals.PROBE_ERROR.__traceback__ is None


def test_a_probe_leaves_the_claim_of_its_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_eventloop.threadlocals, "current_token", "mine", raising=False)

    assert anyio_internals.probe_claim(MioBackend, object())
    assert _eventloop.threadlocals.current_token == "mine"


def test_without_its_table_anyio_finds_the_backend_as_a_module(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "anyio._backends._probe", raising=False)
    monkeypatch.setattr(anyio_internals, "probe_table", lambda *_: False)

    anyio_internals.put_into_table("probe", MioBackend)

    monkeypatch.setattr(_eventloop, "loaded_backends", {})
    assert _eventloop.get_async_backend("probe") is MioBackend
    assert "table of backends" in caplog.text
    del sys.modules["anyio._backends._probe"]
