"""The plugin that pytest loads: the backend without an import, and clocks by their names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SUITE = """
import anyio
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(mio_autojump_clock):
    return "mio", {"clock": mio_autojump_clock}


async def test_an_hour(mio_autojump_clock):
    await anyio.sleep(3600)
    assert anyio.current_time() == mio_autojump_clock.now() == 3600


class TestRealTime:
    @pytest.fixture
    def anyio_backend(self):
        return "mio"

    async def test_backend(self):
        import sniffio

        assert sniffio.current_async_library() == "mio"
"""


NOT_USED = """
import sys

import pytest


def test_nothing_is_loaded():
    assert "anyio_mio" not in sys.modules
    assert not any("anyio_mio" in type(each).__module__ for each in sys.meta_path)


def test_names_of_other_plugins_are_free(request):
    for name in ("mock_clock", "autojump_clock"):
        with pytest.raises(pytest.FixtureLookupError):
            request.getfixturevalue(name)
"""

WITHOUT_THE_CLOCK = """
import anyio
import pytest


@pytest.fixture
def anyio_backend():
    return "mio"


@pytest.mark.anyio
async def test_an_hour(mio_autojump_clock):
    await anyio.sleep(3600)


def test_by_hand(mio_autojump_clock):
    import anyio_mio

    anyio_mio.run(anyio.sleep, 3600, clock=mio_autojump_clock)
"""


HANGING = """
import anyio
import pytest


@pytest.mark.anyio
@pytest.mark.timeout(2, method="signal", func_only=True)
@pytest.mark.parametrize("anyio_backend", ["mio"])
async def test_that_hangs():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever, name="the culprit")
"""


def outcome_of(suite: str, folder: Path) -> str:
    """What pytest says of a suite, with AnyIO's plugin and this one."""
    (folder / "test_suite.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "anyio_mio_pytest"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [*command, "-W", "error", "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        | {"PYTEST_PLUGINS": "anyio.pytest_plugin,pytest_timeout"},
    )
    return result.stdout + result.stderr


def test_a_suite_needs_no_import_and_gets_its_clock(tmp_path: Path) -> None:
    assert "2 passed" in outcome_of(SUITE, tmp_path)


def test_a_suite_that_does_not_use_mio_sees_nothing_of_it(tmp_path: Path) -> None:
    assert "2 passed" in outcome_of(NOT_USED, tmp_path)


def test_a_clock_that_the_run_does_not_use_is_refused_with_the_right_line(tmp_path: Path) -> None:
    outcome = outcome_of(WITHOUT_THE_CLOCK, tmp_path)

    assert "1 failed, 1 passed" in outcome
    assert "test_an_hour takes mio_autojump_clock, but it runs on 'mio' and not on that" in outcome
    assert 'return "mio", {"clock": mio_autojump_clock}' in outcome


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no SIGALRM")
def test_the_report_of_a_test_that_hangs_shows_its_tasks(tmp_path: Path) -> None:
    outcome = outcome_of(HANGING, tmp_path)

    assert "task tree" in outcome
    assert "'the culprit', waits: sleep forever" in outcome


def test_the_installed_plugin_is_the_module_beside_the_package() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert metadata["project"]["entry-points"]["pytest11"] == {"anyio_mio": "anyio_mio_pytest"}
    wheel = metadata["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "anyio_mio_pytest.py" in wheel["packages"]
