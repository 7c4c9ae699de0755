"""The sequencer: blocks of several tasks run in the order of their numbers."""

from __future__ import annotations

import anyio
import pytest

import anyio_mio
from anyio_mio.testing import Sequencer


def test_blocks_run_in_the_order_of_their_numbers() -> None:
    log: list[int] = []

    async def note(sequencer: Sequencer, *positions: int) -> None:
        for position in positions:
            async with sequencer(position):
                await anyio.sleep(0.001)
                log.append(position)

    async def main() -> None:
        sequencer = Sequencer()
        async with anyio.create_task_group() as group:
            group.start_soon(note, sequencer, 1, 4)
            group.start_soon(note, sequencer, 0, 3, 5)
            group.start_soon(note, sequencer, 2)

    anyio_mio.run(main)

    assert log == [0, 1, 2, 3, 4, 5]


def test_a_position_is_used_once() -> None:
    async def main() -> None:
        sequencer = Sequencer()
        async with sequencer(0):
            pass
        with pytest.raises(RuntimeError, match="position 0 of this sequence is taken"):
            async with sequencer(0):
                pass

    anyio_mio.run(main)


def test_a_cancelled_wait_breaks_the_sequence_for_all() -> None:
    errors: list[str] = []

    async def wait(sequencer: Sequencer, position: int) -> None:
        try:
            async with sequencer(position):
                pass
        except RuntimeError as error:
            errors.append(str(error))

    async def main() -> None:
        sequencer = Sequencer()
        async with anyio.create_task_group() as group:
            group.start_soon(wait, sequencer, 2)
            with anyio.move_on_after(0.01):
                async with sequencer(1):
                    pass
        await wait(sequencer, 3)

    anyio_mio.run(main)

    assert len(errors) == 2
    assert "broken" in errors[0]


def test_it_works_on_other_backends() -> None:
    async def main() -> str:
        async with Sequencer()(0):
            return "done"

    assert anyio.run(main, backend="asyncio") == "done"
