"""Random programs of asyncio and AnyIO end on mio as on asyncio's own loop."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings

import anyio_mio
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio.asyncio import new_event_loop
from tests.asyncio.random_programs import Body, VirtualLoop, programs, run_program, virtual_options

pytestmark = pytest.mark.invariant("A2")

PROFILE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


def on_asyncio(program: Body) -> Any:
    options = {"loop_factory": VirtualLoop}
    return anyio.run(run_program, program, backend="asyncio", backend_options=options)


def on_mios_loop(program: Body) -> Any:
    factory = partial(new_event_loop, **virtual_options())
    options = {"loop_factory": factory}
    return anyio.run(run_program, program, backend="asyncio", backend_options=options)


def in_a_task_of_mio(program: Body) -> Any:
    return anyio_mio.run(run_program, program, **virtual_options())


@PROFILE
@given(program=programs(with_yields=True))
def test_on_the_loop_factory_a_program_ends_as_on_asyncios_own_loop(program: Body) -> None:
    assert sorted(on_mios_loop(program)) == sorted(on_asyncio(program))


@PROFILE
@given(program=programs())
def test_in_tasks_of_mio_a_program_ends_as_in_tasks_of_asyncio(program: Body) -> None:
    assert sorted(in_a_task_of_mio(program)) == sorted(on_asyncio(program))


@PROFILE
@given(program=programs(with_yields=True))
def test_a_mixed_program_leaves_nothing_behind_in_the_run(program: Body) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        await run_program(program)
        await asyncio.sleep(0)
        face, kernel = asyncio.current_task(), running_kernel()
        assert face is not None
        assert face.cancelling() == 0
        assert not loop._ready
        assert not asyncio.all_tasks()
        assert kernel.deadlines.alive() == 0
        assert len(kernel.tasks()) == 1

    anyio_mio.run(main, **virtual_options())
