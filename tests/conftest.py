"""What all tests share: their backend, and the lines that a test asks for below the last one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

import anyio_mio  # noqa: F401 - registers the backend

pytest.register_assert_rewrite("tests.shared")

SECONDS_OF_A_SLOW_TEST = 100
"""Limit for those that start processes: on a machine that has much to do, each takes seconds."""


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on mio, unless their module says otherwise."""
    return "mio"


@pytest.fixture(autouse=True)
def level_of_logging() -> Iterator[None]:
    """Take back what a library in a test does to the root logger, which later tests would see."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    if root.level != level:
        root.setLevel(level)
    root.handlers[:] = [each for each in root.handlers if each in handlers]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests more time, unless they say how much."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS_OF_A_SLOW_TEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded with ``record_property("summary", line)``."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, line in getattr(report, "user_properties", ()):
                if name == "summary" and getattr(report, "when", "") == "call":
                    terminalreporter.write_line(line)
