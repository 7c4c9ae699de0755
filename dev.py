#!/usr/bin/env python3
"""The developer's one command; it needs Python 3.11 or later and nothing else.

    python3 dev.py demo [ARGS]          run `anyio-mio demo`
    python3 dev.py check [-- ARGS]      run every check; ARGS go to pytest: -- tests/net -k accept
    python3 dev.py fix                  format, and repair what ruff can repair

All three work in an environment of their own, `.venv-dev` beside this file. dev.py makes it when it
is missing, and makes it again when the requirements in pyproject.toml or the Python change.
"""

# An old Python must be able to read this file, to be refused: no syntax newer than 3.7.
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

VERSION = sys.version.split()[0]
ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv-dev"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
STAMP = ENVIRONMENT / "installed.json"  # written last, removed first: without it, unfinished
OLDEST = (3, 11)

# What each command needs: extras of the project, and a dependency group.
SETS = {"demo": ("cli,trio", "demo"), "check": ("asgi,cli,trio", "dev")}
# mypy skips code for other platforms, so an ignore comment in it counts as unused.
TYPES = ["mypy", "--no-warn-unused-ignores", "-p", "anyio_mio"]
STEPS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "imports": ["lint-imports", "--no-logo"],
    "types": ["mypy"],
    "types on macOS": [*TYPES, "--platform", "darwin", "--cache-dir", ".mypy_cache/darwin"],
    "types on Windows": [*TYPES, "--platform", "win32", "--cache-dir", ".mypy_cache/win32"],
    "docs": ["sphinx-build", "-W", "--keep-going", "-q", "docs", "docs/_build/html"],
}


class Failure(Exception):
    """Something the user can put right; its text says how."""


def main(arguments: list[str]) -> int:
    """Run one command and return the exit status."""
    commands = {"demo": demo, "check": check, "fix": fix}
    name, rest = (arguments or ["(none)"])[0], arguments[1:]
    if name in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        if sys.version_info < OLDEST:
            line = " ".join(["python3.11 dev.py", *arguments])
            raise Failure(f"Python 3.11 or later is needed, this is {VERSION}\n  right: {line}")
        if name not in commands:
            raise Failure(f"no such command: {name}\n  right: python3 dev.py check")
        return commands[name](rest)
    except Failure as failure:
        print(f"dev.py: {failure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def demo(arguments: list[str]) -> int:
    """Run `anyio-mio demo` with these arguments."""
    prepare("demo")
    return run(["anyio-mio", "demo", *arguments])


def fix(arguments: list[str]) -> int:
    """Format the sources and repair what ruff can repair."""
    if arguments:
        raise Failure("fix takes no arguments\n  right: python3 dev.py fix")
    prepare("check")
    repaired = run(["ruff", "check", "--fix", "."])
    return run(["ruff", "format", "."]) or repaired


def check(arguments: list[str]) -> int:
    """Run every check; the tests come last, so that pytest's closing line ends the output."""
    if arguments and arguments[0] != "--":
        line = " ".join(arguments)
        raise Failure(
            "arguments for pytest stand behind two dashes\n"
            f"  wrong: python3 dev.py check {line}\n"
            f"  right: python3 dev.py check -- {line}"
        )
    prepare("check")
    failed = [title for title, command in STEPS.items() if timed(title, command) != 0]
    print(f"\n== so far: {', '.join(failed) + ' FAILED' if failed else 'ok'}", flush=True)
    # All tests go to two processes; a choice of tests, and a debugger, to one.
    if timed("tests", ["pytest", *(arguments[1:] or ["-n", "2"])]) != 0:
        failed.append("tests")
    if failed:
        print(f"dev.py check: FAILED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def timed(title: str, command: list[str]) -> int:
    """Run a program under a heading, say how long it took, and return its exit status."""
    print(f"\n== {title}: {' '.join(command)}", flush=True)
    start = time.monotonic()
    status = run(command)
    if title != "tests":  # pytest says it itself, in its closing line
        seconds = time.monotonic() - start
        print(f"-- {title} {'FAILED' if status else 'ok'}, {seconds:.1f} s", flush=True)
    return status


def prepare(name: str) -> None:
    """Make the environment that a command needs, unless it is there."""
    held = STAMP.read_text() if STAMP.exists() else ""
    if held in (stamp(name), stamp("check")):  # the set of `check` includes that of `demo`
        return
    if held:
        STAMP.unlink()
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    # The pip of Python 3.11 does not know dependency groups; the newest does.
    make = [sys.executable, "-m", "venv", "--upgrade-deps", str(ENVIRONMENT)]
    if timed("environment", make) != 0:
        raise Failure("no environment could be made\n  right (Debian): apt install python3-venv")
    extras, group = SETS[name]
    pip = ["python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if timed("install", [*pip, "--editable", f".[{extras}]", "--group", group]) != 0:
        raise Failure("pip could not install the tools; the lines above say why")
    STAMP.write_text(stamp(name))


def stamp(name: str) -> str:
    """Return what an environment depends on: the Python, the place, the requirements, the set."""
    import tomllib  # here, because a Python that is too old does not have it

    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tables = [metadata[table] for table in ("build-system", "project", "dependency-groups")]
    return json.dumps([sys.version, str(ROOT), tables, name])


def run(command: list[str]) -> int:
    """Run a program of the environment in the project's folder, and return its exit status."""
    environment = {**os.environ, "VIRTUAL_ENV": str(ENVIRONMENT)}
    environment["PATH"] = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    for name in ("PYTHONHOME", "PYTHONPATH"):  # they could name modules of another Python
        environment.pop(name, None)
    program = str(BIN / command[0])  # an absolute path stays as it is
    try:
        return subprocess.call([program, *command[1:]], cwd=ROOT, env=environment)
    except FileNotFoundError:
        remedy = f"right: rm -r {ENVIRONMENT.name}, and again"
        raise Failure(f"{program} is missing\n  {remedy}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
