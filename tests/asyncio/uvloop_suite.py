"""uvloop's own tests, with mio's loop in the place of asyncio's.

    python tests/asyncio/uvloop_suite.py [--stock] FOLDER [-k PATTERN] [-v] [MODULE ...]

FOLDER holds the unpacked source distribution of uvloop, whose version is that of the uvloop that is
installed::

    pip download --no-deps --no-binary :all: uvloop
    tar xf uvloop-*.tar.gz

uvloop runs most of its tests twice: on its own loop, and on asyncio's to compare. The second half
runs here on mio's; with ``--stock`` on asyncio's, to compare. The last line is JSON, as that of
`cpython_suite.py`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import cpython_suite  # type: ignore[import-not-found] # beside this script

MODULES = [
    "test_aiohttp",
    "test_base",
    "test_context",
    "test_dns",
    "test_executors",
    "test_pipes",
    "test_process",
    "test_signals",
    "test_sockets",
    "test_tcp",
    "test_udp",
    "test_unix",
]
EXCLUSIONS = Path(__file__).with_name("uvloop_exclusions.toml")


class TestedLoop(cpython_suite.TestedLoop):  # type: ignore[misc]
    """mio's loop. uvloop's tests know asyncio's by its module, and expect asyncio's ways of it."""

    __module__ = "asyncio.mio"


def import_tests(folder: Path) -> Any:
    """Import the tests, but not the source of uvloop that stands beside them."""
    place = Path(tempfile.mkdtemp(prefix="uvloop-tests-"))
    (place / "tests").symlink_to(folder.resolve() / "tests")
    sys.path.insert(0, str(place))
    testbase: Any = importlib.import_module("uvloop._testbase")
    return testbase


def main() -> int:
    """Run the modules and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-k", dest="pattern", default="")
    parser.add_argument("-v", dest="verbosity", action="store_const", const=2, default=1)
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("modules", nargs="*", default=MODULES)
    options = parser.parse_intermixed_args()
    testbase = import_tests(options.folder)
    if not options.stock:
        testbase.AIOTestCase.new_loop = lambda self: TestedLoop()
    found = []
    for name in options.modules:
        module = importlib.import_module(f"tests.{name}")
        tests = cpython_suite.tests_of(unittest.defaultTestLoader.loadTestsFromModule(module))
        found += [test for test in tests if isinstance(test, testbase.AIOTestCase)]
    return int(cpython_suite.run(found, "tests.", EXCLUSIONS, options))


if __name__ == "__main__":
    sys.exit(main())
