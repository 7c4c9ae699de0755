"""What the shells complete: commands, options, targets, rows, backends and programs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from anyio_mio._bench import backends
from anyio_mio._bench.rows import ROWS
from anyio_mio.cli.group import group

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these shells are UNIX's")

MODULE = """
from framework import Framework
raise SystemExit("it was imported")
LIMIT = 3
app = Framework()
typed: Framework = Framework()
_private = Framework()
async def echo(stream): ...
async def _hidden(stream): ...
def make_app(): ...
class Server: ...
"""


def complete(*words: str) -> list[str]:
    """What comes after these words; the last one is being typed."""
    shell = ShellComplete(group, {}, "anyio-mio", "_ANYIO_MIO_COMPLETE")
    return [str(item.value) for item in shell.get_completions([*words[:-1]], words[-1])]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "server.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("def :")
    (tmp_path / "no-module.py").write_text("async def main(): ...")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("async def inside(): ...")
    (tmp_path / "package" / "main.py").write_text("api = Framework()")
    return tmp_path


def test_serve_completes_applications_and_handlers_without_importing_them() -> None:
    ours = ["server:app", "server:typed", "server:echo"]

    assert complete("serve", "server:") == ours
    assert complete("serve", "") == [
        *ours,
        "package:inside",
        "package.main:api",
        *("echo", "discard", "http-hello"),
    ]


def test_serve_completes_what_makes_an_application() -> None:
    assert complete("serve", "--factory", "") == [
        "server:make_app",
        *("echo", "discard", "http-hello"),
    ]


def test_serve_looks_into_the_folder_that_is_named(folder: Path) -> None:
    assert complete("serve", "--app-dir", str(folder / "package"), "main:") == ["main:api"]


def test_run_completes_async_functions() -> None:
    assert complete("run", "") == ["server:echo", "package:inside"]


def test_bench_completes_rows_and_groups() -> None:
    names = {row.name for row in ROWS} | {row.group for row in ROWS}

    assert set(complete("bench", "")) == names
    assert complete("bench", "echo", "chu") == ["churn"]


def test_backends_are_completed_after_each_comma() -> None:
    assert "mio" in complete("bench", "--backends", "m")
    assert complete("demo", "--backends", "mio,tr")[:1] == ["mio,trio"]
    assert "mio,mio" not in complete("demo", "--backends", "mio,m")
    assert set(backends.installed()) <= set(complete("demo", "--backends", ""))


@pytest.mark.parametrize("command", ["top", "tree", "stats"])
def test_programs_with_a_console_are_completed(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    assert complete(command, "") == []

    (folder / "anyio_mio").mkdir()
    for name in ("4711.sock", "4712.sock", "other.sock"):
        with socket.socket(socket.AF_UNIX) as console:
            console.bind(f"anyio_mio/{name}")

    assert complete(command, "") == ["4711", "4712"]
    assert complete(command, "4712") == ["4712"]


def test_options_are_completed() -> None:
    assert complete("serve", "--keep") == ["--keep-alive"]
    assert complete("serve", "--log-format", "") == ["plain", "json"]


def in_a_shell(shell: str, folder: Path, script: str) -> list[str]:
    """Run a script in a shell which finds the command `anyio-mio`; what it prints."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command = folder / "bin" / "anyio-mio"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m anyio_mio "$@"\n')
    command.chmod(0o755)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [shell, "-c", script],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(root),
            "HOME": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


BASH = r"""
eval "$(_ANYIO_MIO_COMPLETE=bash_source anyio-mio)"
press_tab() {
    COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
    _anyio_mio_completion anyio-mio
    echo "${COMPREPLY[@]}"
}
press_tab "anyio-mio serve server:e"
press_tab "anyio-mio ser"
press_tab "anyio-mio serve --log-level war"
"""


def test_bash_completes_behind_the_colon(folder: Path) -> None:
    assert in_a_shell("bash", folder, BASH) == ["echo", "serve", "warning"]


ZSH = r"""
autoload -U compinit; compinit -u
eval "$(_ANYIO_MIO_COMPLETE=zsh_source anyio-mio)"
compadd() { print -l -- "${completions[@]}" }
words=(anyio-mio serve server:e); CURRENT=3
_anyio_mio_completion
"""


def test_zsh_completes_a_target(folder: Path) -> None:
    assert in_a_shell("zsh", folder, ZSH) == ["server:echo"]


FISH = r"""
_ANYIO_MIO_COMPLETE=fish_source anyio-mio | source
complete --do-complete "anyio-mio serve server:e"
"""


def test_fish_completes_a_target(folder: Path) -> None:
    assert in_a_shell("fish", folder, FISH) == ["server:echo"]
