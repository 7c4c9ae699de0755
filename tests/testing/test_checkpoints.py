"""What counts as a checkpoint: waiting, and paying from the budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
import anyio.lowlevel
import pytest

import anyio_mio
from anyio_mio.testing import assert_checkpoints, assert_no_checkpoints


async def ready_receive() -> None:
    send, receive = anyio.create_memory_object_stream[int](1)
    with send, receive:
        send.send_nowait(1)
        await receive.receive()


CHECKPOINTS: dict[str, Callable[[], Awaitable[object]]] = {
    "checkpoint": anyio.lowlevel.checkpoint,
    "shielded": anyio.lowlevel.cancel_shielded_checkpoint,
    "sleep": lambda: anyio.sleep(0.001),
    "sleep(0)": lambda: anyio.sleep(0),  # noqa: ASYNC115
    "thread": lambda: anyio.to_thread.run_sync(int),
    "receive what is there": ready_receive,
}


async def nothing() -> None:
    pass


@pytest.mark.parametrize("strict", ["budget", "strict"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_these_are_checkpoints(name: str, strict: Literal["budget", "strict"]) -> None:
    async def main() -> None:
        with assert_checkpoints():
            await CHECKPOINTS[name]()
        with pytest.raises(AssertionError), assert_no_checkpoints():
            await CHECKPOINTS[name]()

    anyio_mio.run(main, checkpoints=strict)


@pytest.mark.parametrize("function", [nothing, anyio.lowlevel.checkpoint_if_cancelled])
def test_these_are_none(function: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        with assert_no_checkpoints():
            await function()
        with pytest.raises(AssertionError, match="no checkpoint was passed"), assert_checkpoints():
            await function()

    anyio_mio.run(main)


def test_an_error_of_the_block_is_not_hidden() -> None:
    async def main() -> None:
        with assert_checkpoints():
            raise KeyError

    with pytest.raises(KeyError):
        anyio_mio.run(main)


def test_they_need_a_run_of_mio() -> None:
    with pytest.raises(RuntimeError, match="not running"), assert_checkpoints():
        pass
