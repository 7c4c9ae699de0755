"""The pytest plugin: makes the backend known where a test asks for it, and offers clocks.

pytest loads it by itself where anyio_mio is installed, in every project of that environment. So it
stands beside the package, and imports nothing of it until a test uses it: `anyio_backend = "mio"`
works without an import in the test suite, and other suites see no change. The report of a test that
pytest-timeout ends shows what each task waited for.
"""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Generator
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from anyio_mio.testing import MockClock

CLOCKS = ("mio_mock_clock", "mio_autojump_clock")


@pytest.fixture
def mio_mock_clock() -> MockClock:
    """A clock that stands still until the test calls ``jump()``; see `MockClock`."""
    from anyio_mio.testing import MockClock

    return MockClock()


@pytest.fixture
def mio_autojump_clock() -> MockClock:
    """A clock that jumps to the next deadline as soon as every task waits; see `MockClock`."""
    from anyio_mio.testing import MockClock

    return MockClock(autojump=0)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Register the backend as soon as a test's ``anyio_backend`` names it."""
    value = yield
    if fixturedef.argname == "anyio_backend" and backend_name(value) == "mio":
        import anyio_mio  # noqa: F401 - registers the backend
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Refuse an async test whose clock is not the one that it runs on."""
    if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.function):
        return
    backend = item.funcargs.get("anyio_backend")
    options = backend[1] if isinstance(backend, tuple) else {}
    for name in CLOCKS:
        clock = item.funcargs.get(name)
        if clock is not None and options.get("clock") is not clock:
            pytest.fail(ADVICE.format(test=item.name, name=name, backend=backend), pytrace=False)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, Any, Any]:
    """Have pytest-timeout's report show the task tree of a test that hangs."""
    result = yield
    number = getattr(signal, "SIGALRM", None)
    handler = None if number is None else signal.getsignal(number)
    if number is not None and callable(handler):

        def report_tasks(number: int, frame: FrameType | None) -> None:
            add_task_trees(item)
            handler(number, frame)

        signal.signal(number, report_tasks)
    return result


def add_task_trees(item: pytest.Item) -> None:
    """Add a section to a test's report if mio runs in this process."""
    if "anyio_mio._backend" in sys.modules:
        from anyio_mio.console import render_trees

        trees = render_trees()
        if trees:
            item.add_report_section("call", "task tree", trees)


def backend_name(value: object) -> object:
    """The name in what the fixture ``anyio_backend`` gives: a string, or a pair with options."""
    return value[0] if isinstance(value, tuple) and value else value


ADVICE = """\
{test} takes {name}, but it runs on {backend!r} and not on that clock.
  right: @pytest.fixture
         def anyio_backend({name}):
             return "mio", {{"clock": {name}}}"""
