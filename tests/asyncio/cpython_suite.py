"""CPython's own tests of asyncio, with mio's loop in the place of asyncio's.

    python tests/asyncio/cpython_suite.py [--stock] [--exclude FILE] [-k PATTERN] [-v] [MODULE ...]

It needs a Python that ships its `test.test_asyncio`. The modules that are named run in this
process; without a name all of `MODULES` run, each in a process of its own. ``--stock`` runs them on
asyncio's own loop, to compare. The last line is JSON: how many tests ran, in how many of them mio's
loop was made, how many were skipped by their authors and excluded by us, and which failed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anyio_mio.asyncio import EventLoop

EXCLUSIONS = Path(__file__).with_name("cpython_exclusions.toml")
ROOT = Path(__file__).parents[2]
SECONDS = 240  # for a module

MODULES = [
    "test_events",  # the longest first
    "test_tasks",
    "test_subprocess",
    "test_base_events",
    "test_buffered_proto",
    "test_context",
    "test_eager_task_factory",
    "test_free_threading",
    "test_futures2",
    "test_graph",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_sendfile",
    "test_server",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_staggered",
    "test_streams",
    "test_taskgroups",
    "test_threads",
    "test_timeouts",
    "test_unix_events",
    "test_waitfor",
]
"""The modules in which a test makes a loop that mio's can replace.

The others make none (``test_protocols``, ``test_transports``, ``test_tools``), one that is a mock
(``test_futures``), or look into the classes of another loop (``test_selector_events``,
``test_proactor_events``, ``test_windows_events``, ``test_windows_utils``).
"""

MAKE_BASE_LOOPS = {"test_base_events", "test_pep492", "test_runners"}
"""The modules that make loops of the base class, with a selector that does nothing."""
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

    def _run_once(self) -> None:
        """Run what is ready now, for the tests that call this instead of running the loop."""
        self.call_soon(self.stop)
        self.run_forever()


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


def install_as_base() -> None:
    """Put mio's loop in the place of the base class, too.

    The tests' own `TestLoop`, whose time a generator gives, keeps its base class: it replaces what
    runs the loop.
    """
    importlib.import_module("test.test_asyncio.utils")  # where `TestLoop` is
    everything: Any = asyncio
    everything.BaseEventLoop = everything.base_events.BaseEventLoop = TestedLoop


class Result(unittest.TextTestResult):
    """Counts the tests in which a loop of mio's was made."""

    on_mio = 0
    _before = sys.maxsize  # Python 3.12.1 stops a test that it skips without starting it

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
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("modules", nargs="*")
    options = parser.parse_intermixed_args()
    if not options.modules:
        return run_each(sys.argv[1:])
    if not options.stock:
        install()
    if not options.stock and not MAKE_BASE_LOOPS.isdisjoint(options.modules):
        install_as_base()
    found: list[unittest.TestCase] = []
    for name in options.modules:
        module = importlib.import_module(f"test.test_asyncio.{name}")
        found += tests_of(unittest.defaultTestLoader.loadTestsFromModule(module))
    # The tests collect garbage after each test. Without the modules, which stay, `test_tasks` takes
    # 3 seconds of the processor instead of 16.
    gc.freeze()
    return run(found, "test.test_asyncio.", options.exclude, options)


def is_shipped(module: str) -> bool:
    """Whether this Python has the module: distributions may leave their tests out."""
    try:
        return importlib.util.find_spec(f"test.test_asyncio.{module}") is not None
    except ImportError:
        return False


def run_each(options: list[str]) -> int:
    """Run each module in a process of its own, and print the counts of each and of all."""
    total: dict[str, Any] = {}
    for module in filter(is_shipped, MODULES):
        with tempfile.TemporaryDirectory() as folder:
            counts, log = run_module(module, options, Path(folder))
        sys.stderr.write(log if counts["failed"] else "")
        sys.stdout.write(f"{module}: {json.dumps(counts)}\n")
        sys.stdout.flush()
        total = {key: total.get(key, type(count)()) + count for key, count in counts.items()}
    sys.stdout.write(json.dumps(total) + "\n")
    return int(bool(total.get("failed")))


def run_module(module: str, options: list[str], folder: Path) -> tuple[dict[str, Any], str]:
    """Run a module in a process of its own.

    Args:
        module: its name.
        options: those of the command.
        folder: an empty one, to run in: some tests leave files behind.

    Returns:
        The counts, and what was logged. A module that ends without counts has failed.
    """
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), *options, module],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    lines = done.stdout.splitlines()
    counts: dict[str, Any] = json.loads(lines[-1]) if lines else {"failed": [module]}
    return counts, done.stderr


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
