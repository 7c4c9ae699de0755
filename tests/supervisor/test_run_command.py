"""`anyio-mio run`: an async function of the user's, on mio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LIMIT = 20.0

SOURCE = """
import anyio
import sniffio

async def main(*arguments):
    await anyio.sleep(0)
    return {"library": sniffio.current_async_library(), "arguments": arguments}

async def silent():
    await anyio.sleep(0)

async def fails():
    await anyio.sleep(0)
    raise ValueError("as it should")

async def forever():
    print("running", flush=True)
    await anyio.sleep_forever()

def not_async():
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "user_module.py").write_text(SOURCE)
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "anyio_mio", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    with start(folder, *arguments) as process:
        out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


def test_it_runs_on_mio_with_the_arguments_and_prints_the_result_as_json(folder: Path) -> None:
    expected = '{"library": "mio", "arguments": ["one", "2"]}\n'

    assert run(folder, "user_module:main", "one", "2") == (0, expected, "")


def test_no_result_prints_nothing(folder: Path) -> None:
    assert run(folder, "user_module:silent") == (0, "", "")


@pytest.mark.parametrize("option", [("--strict",), ("--selector", "level")])
def test_the_loop_can_be_chosen(folder: Path, option: tuple[str, ...]) -> None:
    assert run(folder, *option, "user_module:main")[0] == 0


def test_options_after_a_double_dash_belong_to_the_function(folder: Path) -> None:
    assert '"--deep"' in run(folder, "user_module:main", "--", "--deep")[1]


def test_an_exception_ends_it_with_status_1_and_the_users_traceback(folder: Path) -> None:
    status, _, err = run(folder, "user_module:fails")

    assert status == 1
    assert err.endswith("ValueError: as it should\n")
    assert "user_module.py" in err


@pytest.mark.parametrize(
    "target, message",
    [
        ("no_such_module:main", "there is no module 'no_such_module'"),
        ("user_module:mian", "did you mean 'main'?"),
        ("user_module:not_async", "right: async def not_async"),
        ("user_module", "right: my_module:main"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_right_line(
    folder: Path, target: str, message: str
) -> None:
    status, _, err = run(folder, target)

    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_a_module_that_cannot_be_imported_is_one_line_with_the_place(folder: Path) -> None:
    (folder / "broken.py").write_text("\nimport no_such_dependency\n")
    status, _, err = run(folder, "broken:main")

    assert status == 1
    assert err.startswith("Error: cannot import broken:main: ModuleNotFoundError: No module named")
    assert err.endswith(f"({folder / 'broken.py'}:2)\n")
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has no kqueue")
def test_a_selector_that_the_system_does_not_have_is_refused(folder: Path) -> None:
    status, _, err = run(folder, "--selector", "kqueue", "user_module:main")

    assert status == 2
    assert "'kqueue' is not one of 'epoll', 'level'" in err
    assert "Traceback" not in err


def test_ctrl_c_ends_it_with_status_130_and_no_traceback(folder: Path) -> None:
    with start(folder, "user_module:forever") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)

    assert process.returncode == 130
    assert "Traceback" not in err
