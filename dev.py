#!/usr/bin/env python3
"""The developer's one command; it needs Python 3.11 or later and nothing else.

    python3 dev.py demo [ARGS]          run `anyio-mio demo`
    python3 dev.py check [-- ARGS]      run every check; ARGS go to pytest, e.g. -- -k accept
    python3 dev.py fix                  format, and repair what ruff can repair

All three work in a virtual environment `.venv` beside this file. It is made when it is missing
and made anew when the requirements in pyproject.toml or the version of Python have changed.
"""

# The version check below must run on an old Python too, so this file is written in syntax that
# every Python 3 since 3.7 can read, and what needs 3.11 is imported inside functions.
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed.json"
OLDEST = (3, 11)
NEWEST_TRIED = 15  # for the advice to somebody whose python3 is too old

# What each set of tools installs: extras of the project, and dependency groups.
SETS = {
    "demo": (["cli", "trio"], ["demo"]),
    "check": (["cli", "trio"], ["dev"]),
}

# What runs on Windows: no worker processes, and no console on UNIX sockets.
ON_WINDOWS = [
    *(f"anyio_mio.{room}" for room in ("poll", "_reactor", "_kernel", "_net", "_backend")),
    *(f"anyio_mio.{room}" for room in ("asyncio", "trio", "serving", "testing", "lowlevel")),
    "anyio_mio.cli.serve_here",
]


def mypy_for(platform: str, packages: list[str]) -> list[str]:
    """The command that checks the types of packages as they are on another platform."""
    command = ["mypy", "--platform", platform, "--cache-dir", f".mypy_cache/{platform}"]
    return command + [part for package in packages for part in ("-p", package)]


STEPS = (
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("imports", ["lint-imports", "--no-logo"]),
    ("types", ["mypy"]),
    ("types on macOS", mypy_for("darwin", ["anyio_mio"])),
    ("types on Windows", mypy_for("win32", ON_WINDOWS)),
    ("docs", ["sphinx-build", "-W", "--keep-going", "-q", "docs", "docs/_build/html"]),
)


class Failure(Exception):
    """Something the user can put right; its text says how."""


def main(arguments: list[str]) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit status.
    """
    commands = {"demo": demo, "check": check, "fix": fix}
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        require_python(arguments)
        if name not in commands:
            raise Failure(
                f"no such command: {name or '(none given)'}\n  right: python3 dev.py check"
            )
        return commands[name](arguments[1:])
    except Failure as failure:
        print(f"dev.py: {failure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def demo(arguments: list[str]) -> int:
    """Run `anyio-mio demo` with these arguments."""
    prepare("demo")
    return run([tool("anyio-mio"), "demo", *arguments])


def fix(arguments: list[str]) -> int:
    """Format the sources and repair what ruff can repair."""
    if arguments:
        raise Failure("fix takes no arguments\n  right: python3 dev.py fix")
    prepare("check")
    repaired = run([tool("ruff"), "check", "--fix", "."])
    return run([tool("ruff"), "format", "."]) or repaired


def check(arguments: list[str]) -> int:
    """Run every check, the tests last, so that pytest's closing line ends the output."""
    if arguments and arguments[0] != "--":
        raise Failure(
            "arguments for pytest stand behind two dashes\n"
            f"  wrong: python3 dev.py check {' '.join(arguments)}\n"
            f"  right: python3 dev.py check -- {' '.join(arguments)}"
        )
    prepare("check")
    results = [(title, *timed(title, command)) for title, command in STEPS]
    heading("so far")
    for title, status, seconds in results:
        print(f"{'ok' if status == 0 else 'FAILED':<8}{title:<18}{seconds:6.1f} s")
    tests, _ = timed("tests", ["pytest", *pytest_arguments(arguments[1:])])
    failed = [title for title, status, _ in results if status != 0]
    if tests != 0:
        failed.append("tests")
    if failed:
        print(f"dev.py check: FAILED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def pytest_arguments(given: list[str]) -> list[str]:
    """Two workers, unless the arguments ask for a terminal of their own or another number."""
    alone = ("--numprocesses", "-s", "--capture", "--pdb", "--trace", "--collect-only")
    if any(each.startswith("-n") or each.split("=")[0] in alone for each in given):
        return given
    return ["-n", "2", *given]


def timed(title: str, command: list[str]) -> tuple[int, float]:
    """Run a tool of the environment under a heading.

    Returns:
        Its exit status and how many seconds it took.
    """
    heading(f"{title}: {' '.join(command)}")
    start = time.monotonic()
    status = run([tool(command[0]), *command[1:]])
    seconds = time.monotonic() - start
    if title != "tests":  # pytest says it itself, in its closing line
        print(f"-- {'ok' if status == 0 else 'FAILED'}, {seconds:.1f} s", flush=True)
    return status, seconds


def heading(text: str) -> None:
    """Print a line that separates the steps."""
    print(f"\n== {text}", flush=True)


def prepare(name: str) -> None:
    """See to it that the environment holds a set of tools.

    Raises:
        Failure: It could not be made or filled.
    """
    key = environment_key()
    installed = read_stamp(key)
    if name in installed or "check" in installed:  # the largest set holds the others
        return
    if not installed:
        make_environment()
    extras, groups = SETS[name]
    requirements = [line for group in groups for line in group_requirements(group)]
    heading(f"installing the tools for {name} into .venv")
    command = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if run([*command, "--editable", f".[{','.join(extras)}]", *requirements]) != 0:
        raise Failure(
            "pip could not install the tools; the lines above say why\n"
            f"  once that is put right: python3 dev.py {name}"
        )
    STAMP.write_text(json.dumps({"key": key, "sets": [*installed, name]}))


def make_environment() -> None:
    """Make an empty virtual environment in the place of the old one."""
    heading(f"making .venv with Python {sys.version.split()[0]}")
    if VENV.exists() and not (VENV / "pyvenv.cfg").exists():
        raise Failure(f"{VENV} is in the way and is not a virtual environment; move it away")
    shutil.rmtree(VENV, ignore_errors=True)
    if run([sys.executable, "-m", "venv", str(VENV)]) != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        raise Failure(
            "this Python cannot make virtual environments with pip in them\n"
            "  right (Debian, Ubuntu): apt install python3-venv\n"
            "  then:                   python3 dev.py check"
        )


def environment_key() -> str:
    """What the environment depends on: what is installed, where, and the Python that runs this."""
    metadata = read_pyproject()
    parts = [metadata[table] for table in ("build-system", "project", "dependency-groups")]
    text = json.dumps([sys.version, str(ROOT), *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_pyproject() -> dict[str, Any]:
    """The project's metadata and settings."""
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def read_stamp(key: str) -> list[str]:
    """The sets that the environment holds; none when it was made for another key."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return []
    if stamp.get("key") != key or not Path(python()).exists():
        return []
    return [str(name) for name in stamp["sets"]]


def group_requirements(name: str) -> list[str]:
    """Resolve a dependency group, since the pip of an older Python has no option for it."""
    lines: list[str] = []
    for entry in read_pyproject()["dependency-groups"][name]:
        if isinstance(entry, str):
            lines.append(entry)
        else:
            lines.extend(group_requirements(entry["include-group"]))
    return lines


def python() -> str:
    """The environment's interpreter."""
    return tool("python")


def tool(name: str) -> str:
    """The path of a program in the environment."""
    if os.name == "nt":
        return str(VENV / "Scripts" / f"{name}.exe")
    return str(VENV / "bin" / name)


def run(command: list[str]) -> int:
    """Run a program in the project's directory and return its exit status."""
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV)}
    environment["PATH"] = os.pathsep.join([str(Path(python()).parent), os.environ.get("PATH", "")])
    for name in ("PYTHONHOME", "PYTHONPATH"):  # they would put another Python's modules in front
        environment.pop(name, None)
    try:
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    except FileNotFoundError:
        raise Failure(
            f"{command[0]} is missing from .venv\n  right: rm -r .venv && python3 dev.py check"
        ) from None


def require_python(arguments: list[str]) -> None:
    """Refuse a Python that is too old and name one that is not.

    Raises:
        Failure: The Python that runs this is too old.
    """
    if sys.version_info >= OLDEST:
        return
    names = [f"python3.{minor}" for minor in range(NEWEST_TRIED, OLDEST[1] - 1, -1)]
    found = next((name for name in names if runs(name)), None)
    line = " ".join([found or "python3.11", "dev.py", *arguments])
    advice = "" if found else "\n  (no newer Python was found here; python.org has one)"
    raise Failure(
        f"anyio_mio needs Python 3.11 or later, and this is {sys.version.split()[0]}\n"
        f"  right: {line}{advice}"
    )


def runs(name: str) -> bool:
    """Whether there is such a Python; a version manager's shim may stand for one that is not."""
    if shutil.which(name) is None:
        return False
    return subprocess.run([name, "-c", ""], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
