"""`anyio-mio serve --console` and `--slow-step`: seeing inside all workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anyio_mio.cli.group import group

from .command import LIMIT, connect, kill, port_of, serving, until, user_module

ANY_PORT = ("--bind", "127.0.0.1:0")

BLOCKS = """
import time
async def block(stream):
    await stream.receive()
    time.sleep(0.5)
"""


def stats_of(folder: Path) -> list[dict[str, Any]]:
    """What `anyio-mio stats --json` says about a folder of consoles."""
    command = [sys.executable, "-m", "anyio_mio", "stats", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_each_worker_has_a_console_and_a_new_one_takes_the_place_of_a_killed_one(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "consoles"
    with serving("echo", *ANY_PORT, "--workers", "2", "--console", str(folder)) as serve:
        before = {serve.wait_for("worker ready")["pid"] for _ in range(2)}
        first = {each["pid"] for each in stats_of(folder)}
        kill(min(before))
        after = before - {min(before)} | {serve.wait_for("worker ready")["pid"]}
        second = {each["pid"] for each in stats_of(folder)}

    assert first == before
    assert second == after
    assert os.stat(folder).st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_a_handler_that_blocks_is_named_in_the_log_of_the_server(tmp_path: Path) -> None:
    found = user_module(tmp_path, BLOCKS)
    with serving("user_module:block", *ANY_PORT, "--slow-step", "0.1", **found) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        with connect(port) as client:
            client.sendall(b"x")
            until(lambda: serve.wait_for_any("logger") and watched(serve))
            serve.send(signal.SIGTERM)

    assert any("time.sleep(0.5)" in line["event"] for line in serve.seen)


def watched(serve: Any) -> bool:
    return any("blocked the event loop" in line["event"] for line in serve.seen)


@pytest.mark.slow
def test_run_takes_a_console_and_a_limit_for_slow_steps(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time, os\n"
        "async def main():\n"
        "    time.sleep(0.3)\n"
        "    return os.path.exists('here.sock')\n"
    )
    options = ["--console", "here.sock", "--slow-step", "0.05"]
    done = subprocess.run(
        [sys.executable, "-m", "anyio_mio", "run", "slow:main", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )

    assert done.stdout == "true\n"
    assert "time.sleep(0.3)" in done.stderr


@pytest.mark.parametrize("name", ["file", "x" * 120])
def test_a_console_that_can_be_no_directory_is_refused_in_two_lines(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(group, ["serve", "echo", "--console", str(tmp_path / name)])

    assert result.exit_code == 2
    assert "right: " in result.output
