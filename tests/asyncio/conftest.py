"""These tests run on mio, each for some seconds at the most."""

from __future__ import annotations

import pytest

import anyio_mio  # noqa: F401 - makes the backend known


@pytest.fixture
def anyio_backend() -> str:
    return "mio"
