"""The pytest plugin: registers the backend, and offers clocks.

pytest loads it by itself where anyio_mio is installed: ``anyio_backend = "mio"`` works without an
import in the test suite.
"""

from __future__ import annotations

import pytest

import anyio_mio  # noqa: F401 - registers the backend
from anyio_mio.testing.clock import MockClock


@pytest.fixture
def mock_clock() -> MockClock:
    """A clock that stands still until the test calls ``jump()``; see `MockClock`."""
    return MockClock()


@pytest.fixture
def autojump_clock() -> MockClock:
    """A clock that jumps to the next deadline as soon as every task waits; see `MockClock`."""
    return MockClock(autojump=0)
