#!/usr/bin/env python3
"""The developer's one command; it needs Python 3.11 or later and nothing else.

    python3 dev.py demo [ARGS]          run `anyio-mio demo`
    python3 dev.py check [-- ARGS]      run every check; ARGS go to pytest: -- tests/net -k accept
    python3 dev.py fix                  format, and repair what ruff can repair

All three work in an environment of their own, `.venv-dev` beside this file. It is made when it is
missing, and made anew when the requirements in pyproject.toml or the version of Python change.
"""

# An old Python must be able to read this file, to be refused: no syntax newer than 3.7.
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv-dev"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
STAMP = ENVIRONMENT / "installed.json"  # written last and removed first: what has none is remade
OLDEST, NEWEST_TRIED = (3, 11), 15

# What each command needs: extras of the project, and a dependency group.
SETS = {"demo": ("cli,trio", "demo"), "check": ("asgi,cli,trio", "dev")}


def mypy_for(platform: str) -> list[str]:
    """Return the command that checks the types of the package on another platform."""
    # What stands behind a check of the platform is not read there, so its ignores are unused.
    command = ["mypy", "--platform", platform, "--no-warn-unused-ignores"]
    return [*command, "--cache-dir", f".mypy_cache/{platform}", "-p", "anyio_mio"]


STEPS = (
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("imports", ["lint-imports", "--no-logo"]),
    ("types", ["mypy"]),
    ("types on macOS", mypy_for("darwin")),
    ("types on Windows", mypy_for("win32")),
    ("docs", ["sphinx-build", "-W", "--keep-going", "-q", "docs", "docs/_build/html"]),
)


class Failure(Exception):
    """Something the user can put right; its text says how."""


def main(arguments: list[str]) -> int:
    """Run one command and return the exit status."""
    commands = {"demo": demo, "check": check, "fix": fix}
    name = arguments[0] if arguments else "(none)"
    if name in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        require_python(arguments)
        if name not in commands:
            raise Failure(f"no such command: {name}\n  right: python3 dev.py check")
        return commands[name](arguments[1:])
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
    """Run every check, the tests last, so that pytest's closing line ends the output."""
    if arguments and arguments[0] != "--":
        line = " ".join(arguments)
        raise Failure(
            "arguments for pytest stand behind two dashes\n"
            f"  wrong: python3 dev.py check {line}\n"
            f"  right: python3 dev.py check -- {line}"
        )
    prepare("check")
    failed = [title for title, command in STEPS if timed(title, command) != 0]
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
    """See to it that the environment has what a command needs."""
    key = environment_key()
    sets = read_stamp(key)
    if name in sets or "check" in sets:  # the largest set holds the others
        return
    if STAMP.exists():
        STAMP.unlink()
    if not sets:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        # The newest pip, since that of Python 3.11 knows no dependency groups.
        make = [sys.executable, "-m", "venv", "--upgrade-deps", str(ENVIRONMENT)]
        if timed("environment", make) != 0:
            raise Failure(
                "no environment could be made\n  right (Debian): apt install python3-venv"
            )
    extras, group = SETS[name]
    pip = ["python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if timed("install", [*pip, "--editable", f".[{extras}]", "--group", group]) != 0:
        raise Failure("pip could not install the tools; the lines above say why")
    STAMP.write_text(json.dumps({"key": key, "sets": [*sets, name]}))


def environment_key() -> str:
    """Return what the environment depends on: what is installed, where, and the Python."""
    import tomllib

    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [metadata[table] for table in ("build-system", "project", "dependency-groups")]
    text = json.dumps([sys.version, str(ROOT), *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_stamp(key: str) -> list[str]:
    """Return the sets that the environment holds; none if made for another key, or unfinished."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return []
    return [str(name) for name in stamp["sets"]] if stamp["key"] == key else []


def run(command: list[str]) -> int:
    """Run a program of the environment in the project's folder, and return its exit status."""
    environment = {**os.environ, "VIRTUAL_ENV": str(ENVIRONMENT)}
    environment["PATH"] = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    for name in ("PYTHONHOME", "PYTHONPATH"):  # they would put another Python's modules in front
        environment.pop(name, None)
    program = str(BIN / command[0])  # an absolute path stays as it is
    try:
        done = subprocess.run([program, *command[1:]], cwd=ROOT, env=environment, check=False)
    except FileNotFoundError:
        raise Failure(
            f"{program} is missing\n  right: rm -r {ENVIRONMENT.name}, and again"
        ) from None
    return done.returncode


def require_python(arguments: list[str]) -> None:
    """Refuse a Python that is too old, and name one that is not."""
    if sys.version_info >= OLDEST:
        return
    names = [f"python3.{minor}" for minor in range(NEWEST_TRIED, OLDEST[1] - 1, -1)]
    found = next(filter(runs, names), None)
    line = " ".join([found or "python3.11", "dev.py", *arguments])
    advice = "" if found else "\n  (no newer Python was found here; python.org has one)"
    version = sys.version.split()[0]
    raise Failure(f"Python 3.11 or later is needed, this is {version}\n  right: {line}{advice}")


def runs(name: str) -> bool:
    """Return whether such a Python runs; a version manager has shims for some that do not."""
    if shutil.which(name) is None:
        return False
    return subprocess.run([name, "-c", ""], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
