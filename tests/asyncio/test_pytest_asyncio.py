"""pytest-asyncio with mio's loop factory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
from anyio_mio.asyncio import new_event_loop

def pytest_asyncio_loop_factories(config, item):
    return {"mio": new_event_loop}
"""
TESTS = """
import asyncio
import pytest

@pytest.fixture
async def value():
    await asyncio.sleep(0)
    yield type(asyncio.get_running_loop()).__module__
    await asyncio.sleep(0)

async def test_loop(value):
    assert value == "anyio_mio.asyncio.event_loop"
"""


def test_pytest_asyncio_takes_the_loop_factory(tmp_path: Path) -> None:
    pytest.importorskip("pytest_asyncio", "1.4", reason="pytest-asyncio is not installed")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    options = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function"]

    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            *(word for each in options for word in ("-o", each)),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed" in run.stdout, run.stdout
