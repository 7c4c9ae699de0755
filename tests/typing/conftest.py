"""What the tests of types share."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def pyright() -> None:
    """Skip a test where pyright does not run: it needs Node.js, or a network to get it from."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--version"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        timeout=100,
    )
    if done.returncode != 0:
        pytest.skip(f"pyright does not run: {done.stderr.partition(chr(10))[0]}")
