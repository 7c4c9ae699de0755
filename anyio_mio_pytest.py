"""The pytest plugin: makes the backend known where a test asks for it, and offers clocks.

pytest loads it by itself where anyio_mio is installed, in every project of that environment. So it
stands beside the package, and imports nothing of it until a test uses it: `anyio_backend = "mio"`
works without an import in the test suite, and other suites see no change.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
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


def backend_name(value: object) -> object:
    """The name in what the fixture ``anyio_backend`` gives: a string, or a pair with options."""
    return value[0] if isinstance(value, tuple) and value else value


ADVICE = """\
{test} takes {name}, but it runs on {backend!r} and not on that clock.
  right: @pytest.fixture
         def anyio_backend({name}):
             return "mio", {{"clock": {name}}}"""
