"""Each of these tests runs on every selector of the platform, with real sockets and processes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
import pytest

from anyio_mio.lowlevel import Instrument
from tests.models.selectors import SELECTORS
from tests.shared.leaks import nothing_left_open

T = TypeVar("T")
Run = Callable[[Callable[[], Coroutine[Any, Any, T]]], T]

SECONDS = 10
"""After which a test that hangs is ended."""


class Polls(Instrument):
    """Counts how often the kernel polls: a loop that spins does so thousands of times a second."""

    def __init__(self) -> None:
        self.count = 0

    def after_poll(self, events: int) -> None:
        self.count += 1


@pytest.fixture
def polls() -> Polls:
    return Polls()


@pytest.fixture(params=SELECTORS)
def run(request: pytest.FixtureRequest, polls: Polls) -> Run[Any]:
    """Runs an async function on mio, and sees to it that no descriptor is left open."""

    def run_on_mio(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def bounded() -> T:
            with anyio.fail_after(SECONDS):
                return await function()

        with nothing_left_open():
            options = {"selector": SELECTORS[request.param](), "instruments": [polls]}
            return anyio.run(bounded, backend="mio", backend_options=options)

    return run_on_mio
