import os
import subprocess
import sys
from pathlib import Path

import pytest

from anyio_mio.cli import main


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_answered_with_the_right_line(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in list(sys.modules):
        if name.startswith("anyio_mio.cli.") or name.partition(".")[0] == missing:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(SystemExit) as stopped:
        main()

    assert stopped.value.code == 2
    assert "right: pip install 'anyio-mio[cli]'" in capsys.readouterr().err


def test_help_lists_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["anyio-mio", "--help"])

    with pytest.raises(SystemExit) as stopped:
        main()

    assert stopped.value.code == 0
    assert "demo" in capsys.readouterr().out


INTERRUPT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
"""


def interrupted_at(module: str, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command which gets SIGINT when it begins to import a module."""
    (folder / "sitecustomize.py").write_text(INTERRUPT.format(module=module))
    path = os.pathsep.join([str(folder), os.getcwd()])
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("module", ["anyio_mio", "anyio", "anyio_mio.cli", "click", "rich.table"])
def test_ctrl_c_during_the_import_of_the_command_leaves_no_traceback(
    module: str, tmp_path: Path
) -> None:
    script = "from anyio_mio_command import main; main()"

    done = interrupted_at(module, tmp_path, "-c", script, "doctor")

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize(
    "module", ["anyio_mio._backend", "anyio", "anyio_mio.cli", "click", "rich.table"]
)
def test_ctrl_c_during_the_import_of_python_m_leaves_no_traceback(
    module: str, tmp_path: Path
) -> None:
    done = interrupted_at(module, tmp_path, "-m", "anyio_mio", "doctor")

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_another_module_that_is_run_keeps_its_own_handler_of_ctrl_c(tmp_path: Path) -> None:
    package = tmp_path / "user"
    package.mkdir()
    (package / "__init__.py").write_text("import anyio_mio")
    (package / "__main__.py").write_text("import signal; print(signal.getsignal(2).__name__)")

    done = interrupted_at("never", tmp_path, "-m", "user", "anyio_mio")

    assert (done.returncode, done.stdout) == (0, "default_int_handler\n")
