"""CPython's own tests of asyncio pass with mio's loop in the place of asyncio's."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("cpython_suite.py")
ROOT = RUNNER.parents[2]
SECONDS = 240

MODULES = [
    "test_events",  # the longest first
    "test_tasks",
    "test_subprocess",
    "test_base_events",
    "test_buffered_proto",
    "test_context",
    "test_eager_task_factory",
    "test_futures2",
    "test_locks",
    "test_queues",
    "test_sendfile",
    "test_server",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_staggered",
    "test_streams",
    "test_taskgroups",
    "test_threads",
    "test_timeouts",
    "test_unix_events",
    "test_waitfor",
]


def is_shipped(module: str) -> bool:
    """Whether this Python has the module: distributions may leave their tests out."""
    try:
        return importlib.util.find_spec(f"test.test_asyncio.{module}") is not None
    except ImportError:
        return False


def run(module: str, tmp_path: Path) -> dict[str, object]:
    """Run a module in a process of its own, in an empty folder: some leave files behind."""
    done = subprocess.run(
        [sys.executable, str(RUNNER), module],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr[-2000:]
    counts: dict[str, object] = json.loads(lines[-1])
    assert counts["failed"] == [], done.stderr[-4000:]
    return counts


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_cpythons_suite_passes(
    module: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if not is_shipped(module):
        pytest.skip(f"this Python ships no test.test_asyncio.{module}")
    counts = run(module, tmp_path)
    record_property("summary", f"CPython's {module}: {counts}")

    assert counts["on mio"]
