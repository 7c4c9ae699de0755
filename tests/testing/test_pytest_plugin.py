"""The plugin that pytest loads: the backend without an import, and clocks by their names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SUITE = """
import anyio
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(autojump_clock):
    return "mio", {"clock": autojump_clock}


async def test_an_hour(autojump_clock):
    await anyio.sleep(3600)
    assert anyio.current_time() == autojump_clock.now() == 3600


class TestRealTime:
    @pytest.fixture
    def anyio_backend(self):
        return "mio"

    async def test_backend(self):
        import sniffio

        assert sniffio.current_async_library() == "mio"
"""


def test_a_suite_needs_no_import_and_gets_its_clock(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "anyio_mio.testing.pytest_plugin"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

    result = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        | {"PYTEST_PLUGINS": "anyio.pytest_plugin"},
    )

    assert "2 passed" in result.stdout, result.stdout + result.stderr
