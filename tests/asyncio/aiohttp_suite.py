"""aiohttp's own tests, with mio's loop in the place of asyncio's.

    python tests/asyncio/aiohttp_suite.py [--stock] FOLDER [FILE ...] [-- PYTEST OPTIONS]

FOLDER holds the unpacked source distribution of aiohttp, whose version is that of the aiohttp that
is installed; ``requirements/test-common.in`` there names what its tests need besides::

    pip download --no-deps --no-binary :all: aiohttp
    tar xf aiohttp-*.tar.gz

The tests run with the settings of aiohttp's own ``pytest.ini``, in one process and without
coverage, and what its authors leave out by default is left out here. ``--stock`` runs them on
asyncio's own loop, to compare. The last line is JSON, as that of `cpython_suite.py`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import cpython_suite  # type: ignore[import-not-found] # beside this script
import pytest

EXCLUSIONS = Path(__file__).with_name("aiohttp_exclusions.toml")
# The options of aiohttp's pytest.ini, without those for several processes, doctests and coverage.
ADDOPTS = "addopts=--strict-markers -ra -m 'not dev_mode and not autobahn and not internal'"
# mio, and so AnyIO, is loaded before pytest.
LOADED = "-Wignore::pytest.PytestAssertRewriteWarning"


class Count:
    """A plugin of pytest: leaves tests out, and counts the others."""

    def __init__(self) -> None:
        self.reasons = cpython_suite.read_exclusions(EXCLUSIONS)
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []
        self.made = 0

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Leave out what is excluded: a test, with or without its parameters, or a file."""
        kept = [item for item in items if not self.is_excluded(item.nodeid)]
        self.counts["excluded"] = len(items) - len(kept)
        items[:] = kept

    def is_excluded(self, name: str) -> bool:
        """Return whether a test is not run."""
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


def prepare(folder: Path) -> None:
    """Go to a folder with the tests and their settings, but not the source of aiohttp."""
    place = Path(tempfile.mkdtemp(prefix="aiohttp-tests-"))
    for name in ("tests", "pytest.ini"):
        (place / name).symlink_to(folder.resolve() / name)
    os.chdir(place)


def main() -> int:
    """Run the tests and print the counts."""
    arguments = sys.argv[1:]
    stock = arguments[:1] == ["--stock"]
    del arguments[: int(stock)]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    folder, *files = arguments[:split]
    prepare(Path(folder))
    if not stock:
        cpython_suite.install()
    count = Count()
    options = ["-q", "-p", "no:cacheprovider", "-o", ADDOPTS, LOADED, *arguments[split + 1 :]]
    paths = [f"tests/{file}" for file in files] or ["tests"]
    status = pytest.main([*options, *paths], plugins=[count])
    found = {key: count.counts[key] for key in ("ran", "on mio", "skipped", "excluded")}
    sys.stdout.write(json.dumps({**found, "failed": count.failed}) + "\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
