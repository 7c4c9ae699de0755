"""What all tests share: their backend, and the lines that a test asks for below the last one."""

from __future__ import annotations

import pytest

import anyio_mio  # noqa: F401 - registers the backend

pytest.register_assert_rewrite("tests.shared")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on mio, unless their module says otherwise."""
    return "mio"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded with ``record_property("summary", line)``."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, line in getattr(report, "user_properties", ()):
                if name == "summary" and getattr(report, "when", "") == "call":
                    terminalreporter.write_line(line)
