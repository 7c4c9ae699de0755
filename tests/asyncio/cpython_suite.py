"""CPython's own tests of asyncio, with mio's loop in the place of asyncio's.

    python tests/asyncio/cpython_suite.py [--list] [--exclude FILE] [MODULE ...]

It needs a Python that ships its `test.test_asyncio`. Each module runs in this process, so the tests
of this project start one process for each. The last line is JSON: how many tests ran, on how many
of them mio's loop was made, and which failed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import tomllib
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anyio_mio.asyncio import EventLoop

EXCLUSIONS = Path(__file__).with_name("cpython_exclusions.toml")
made = 0


class TestedLoop(EventLoop):  # type: ignore[misc] # it is final for users
    """mio's loop with the argument of asyncio's: a selector, which is not used."""

    __test__ = False

    def __init__(self, selector: Any = None) -> None:
        global made
        made += 1
        if selector is not None:
            selector.close()
        super().__init__()


def install() -> None:
    """Put mio's loop in each place where asyncio looks for its own."""
    events: Any = asyncio.unix_events
    everything: Any = asyncio
    everything.SelectorEventLoop = events.SelectorEventLoop = TestedLoop
    if hasattr(everything, "EventLoop"):
        everything.EventLoop = TestedLoop
    for name in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        policy = getattr(events, name, None)
        if policy is not None:
            policy._loop_factory = TestedLoop
    if sys.version_info >= (3, 14):
        everything.events.new_event_loop = everything.new_event_loop = TestedLoop


class Result(unittest.TextTestResult):
    """Counts the tests in which a loop of mio's was made."""

    on_mio = 0

    def startTest(self, test: unittest.TestCase) -> None:
        self._before = made
        super().startTest(test)

    def stopTest(self, test: unittest.TestCase) -> None:
        self.on_mio += made > self._before
        super().stopTest(test)


def tests_of(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """The single tests of a suite."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def excluded(test: unittest.TestCase, package: str, exclusions: dict[str, str]) -> str | None:
    """Why a test is not run: its own entry, or that of its class or module."""
    name = test.id().removeprefix(package)
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        reason = exclusions.get(".".join(parts[:length]))
        if reason is not None:
            return reason
    return None


def read_exclusions(path: Path) -> dict[str, str]:
    """What is not run, with the reason; a table for all versions, and one for some."""
    found: dict[str, str] = {}
    for versions, entries in tomllib.loads(path.read_text()).items():
        if versions == "all" or f"{sys.version_info[0]}.{sys.version_info[1]}" in versions:
            found.update(entries)
    return found


def main() -> int:
    """Run the modules and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exclude", type=Path, default=EXCLUSIONS)
    parser.add_argument("-k", dest="pattern", default="")
    parser.add_argument("-v", dest="verbosity", action="store_const", const=2, default=1)
    parser.add_argument("modules", nargs="+")
    options = parser.parse_args()
    install()
    found: list[unittest.TestCase] = []
    for name in options.modules:
        module = importlib.import_module(f"test.test_asyncio.{name}")
        found += tests_of(unittest.defaultTestLoader.loadTestsFromModule(module))
    return run(found, "test.test_asyncio.", options.exclude, options)


def run(
    tests: list[unittest.TestCase], package: str, exclusions: Path, options: argparse.Namespace
) -> int:
    """Run tests, but not those that are excluded; print the counts.

    Args:
        tests: all that were found.
        package: what the names of the exclusions leave out.
        exclusions: the file that names them.
        options: ``pattern``, which a test's name has to contain, and ``verbosity``.
    """
    reasons = read_exclusions(exclusions)
    wanted = [test for test in tests if options.pattern in test.id()]
    chosen = [test for test in wanted if excluded(test, package, reasons) is None]
    kind: Any = Result
    runner = unittest.TextTestRunner(verbosity=options.verbosity, resultclass=kind)
    result: Any = runner.run(unittest.TestSuite(chosen))
    failed = [test.id() for test, _ in [*result.failures, *result.errors]]
    counts = {
        "ran": result.testsRun,
        "on mio": result.on_mio,
        "skipped": len(result.skipped),
        "excluded": len(wanted) - len(chosen),
        "failed": failed,
    }
    sys.stdout.write(json.dumps(counts) + "\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
