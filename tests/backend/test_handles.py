"""Task handles: what is made and filled in here is what AnyIO's own code makes and fills in."""

from __future__ import annotations

from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
from anyio import TaskHandle

import anyio_mio  # noqa: F401 - registers the backend
from anyio_mio._backend import handles

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


def contents(handle: TaskHandle[int]) -> dict[str, object]:
    """The type or, where that says nothing, the value of whatever a handle holds."""
    found: dict[str, object] = {}
    for slot in TaskHandle.__slots__:
        if slot != "__weakref__" and hasattr(handle, slot):
            value = getattr(handle, slot)
            found[slot] = value if value is None or isinstance(value, str) else type(value)
    return found


def test_the_installed_anyio_is_known() -> None:
    assert handles.IS_KNOWN


async def test_a_new_handle_holds_what_anyios_constructor_puts_into_it() -> None:
    coro = double(1)

    assert contents(handles.new_handle(coro, "x")) == contents(TaskHandle(coro, "x"))
    assert contents(handles.new_handle(coro, None)) == contents(TaskHandle(coro, None))

    coro.close()


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_handle_tells_how_its_task_ended(
    is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "IS_KNOWN", is_known)

    good, bad = await run_one_after_the_other()

    assert (good.name, good.status, good.return_value) == ("good", TaskHandle.Status.FINISHED, 4)
    assert bad.name == f"{__name__}.double"
    assert bad.status is TaskHandle.Status.FAILED
    assert isinstance(bad.exception, ValueError)


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_handle_cancels_its_task_alone(
    is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "IS_KNOWN", is_known)

    async with anyio.create_task_group() as group:
        sleeper = group.start_soon(anyio.sleep_forever)
        other = group.start_soon(double, 3)
        await anyio.lowlevel.checkpoint()
        sleeper.cancel()

    assert sleeper.status is TaskHandle.Status.CANCELLED
    assert other.return_value == 6
