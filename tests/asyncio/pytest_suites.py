"""The tests of projects that use pytest, with mio's loop in the place of asyncio's.

    python tests/asyncio/pytest_suites.py [--stock] PROJECT FOLDER [FILE ...] [-- PYTEST OPTIONS]

PROJECT is aiohttp, anyio (its tests on asyncio) or asyncpg (with a PostgreSQL server, which is
started for it). FOLDER holds the unpacked source distribution, whose version is that of the project
that is installed::

    pip download --no-deps --no-binary aiohttp aiohttp
    tar xf aiohttp-*.tar.gz

What the tests need besides is named there, in ``requirements/test-common.in`` or the group ``test``
of ``pyproject.toml``. They run with the project's own settings, in one process and without
coverage, and what its authors leave out by default is left out here. As root, tests of permissions
fail. ``--stock`` runs them on asyncio's own loop, to compare. The last line is JSON, as that of
`cpython_suite.py`; ``PROJECT_exclusions.toml`` has what is not run, with the reasons.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cpython_suite  # type: ignore[import-not-found] # beside this script
import pytest
import servers  # type: ignore[import-not-found] # beside this script


@dataclass(frozen=True)
class Project:
    """How the tests of a project run.

    Attributes:
        settings: the file that has pytest's.
        options: what replaces ``addopts`` there.
        parameter: what the names of the tests on asyncio contain.
        needs_postgres: whether the tests want a PostgreSQL server.
    """

    settings: str
    options: str
    parameter: str = ""
    needs_postgres: bool = False


PROJECTS = {
    "aiohttp": Project(
        "pytest.ini", "--strict-markers -ra -m 'not dev_mode and not autobahn and not internal'"
    ),
    "anyio": Project(
        "pyproject.toml",
        "-rfE --tb=short --strict-markers -p anyio -p pytest_mock -p no:asyncio -p no:trio"
        " -m 'not network'",
        "[asyncio",
    ),
    "asyncpg": Project("pyproject.toml", "--strict-markers --tb=short -rfE", needs_postgres=True),
}
# mio, and so AnyIO, is loaded before pytest.
LOADED = "-Wignore::pytest.PytestAssertRewriteWarning"


class Count:
    """A plugin of pytest: leaves tests out, and counts the others."""

    def __init__(self, name: str) -> None:
        path = Path(__file__).with_name(f"{name}_exclusions.toml")
        self.reasons = cpython_suite.read_exclusions(path)
        self.parameter = PROJECTS[name].parameter
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []
        self.made = 0

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Leave out what is excluded, and what runs on other loops."""
        wanted = [item for item in items if self.parameter in item.nodeid]
        wanted = [item for item in wanted if "+uvloop" not in item.nodeid]
        kept = [item for item in wanted if not self.is_excluded(item.nodeid)]
        self.counts["excluded"] = len(wanted) - len(kept)
        items[:] = kept

    def is_excluded(self, name: str) -> bool:
        """Return whether a test is not run: a test, with or without its parameters, or a file."""
        name = name.removeprefix("tests/")
        names = {name, name.partition("[")[0], name.partition("::")[0]}
        return not names.isdisjoint(self.reasons)

    def pytest_runtest_setup(self, item: Any) -> None:
        """Remember how many loops of mio's were made before a test."""
        self.made = cpython_suite.made

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count the outcomes."""
        if report.when == "teardown":
            self.counts["ran"] += 1
            self.counts["on mio"] += cpython_suite.made > self.made
        if report.skipped:
            self.counts["skipped"] += 1
        if report.failed:
            self.failed.append(report.nodeid)


def prepare(folder: Path, project: Project) -> None:
    """Go to a folder with the tests and their settings, but not the source of the project."""
    place = Path(tempfile.mkdtemp(prefix="project-tests-"))
    shutil.copytree(folder / "tests", place / "tests")
    shutil.copy(folder / project.settings, place)
    os.chdir(place)


@contextmanager
def postgres() -> Iterator[None]:
    """Start a server, and name it as libpq wants."""
    # Not above: AnyIO's tests compare the sys.path of processes, which import this script, too.
    sys.path.append(str(Path(__file__).parents[1] / "shared"))
    import ports  # type: ignore[import-not-found]

    place = Path(tempfile.mkdtemp(prefix="project-postgres-"))
    with ports.reserved_port() as port, servers.postgres(place, port):
        os.environ.update(PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="postgres")
        yield


def main() -> int:
    """Run the tests and print the counts."""
    arguments = sys.argv[1:]
    stock = arguments[:1] == ["--stock"]
    del arguments[: int(stock)]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    name, folder, *files = arguments[:split]
    project = PROJECTS[name]
    prepare(Path(folder), project)
    if not stock:
        cpython_suite.install()
    count = Count(name)
    options = ["-q", "-p", "no:cacheprovider", "-o", f"addopts={project.options}", LOADED]
    paths = [f"tests/{file}" for file in files] or ["tests"]
    with ExitStack() as stack:
        if project.needs_postgres:
            stack.enter_context(postgres())
        status = pytest.main([*options, *arguments[split + 1 :], *paths], plugins=[count])
    found = {key: count.counts[key] for key in ("ran", "on mio", "skipped", "excluded")}
    sys.stdout.write(json.dumps({**found, "failed": count.failed}) + "\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
