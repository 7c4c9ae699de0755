"""A pytest plugin that gives AnyIO's own test suite a variant on mio, and no others.

AnyIO's tests are parametrized over ``anyio.get_all_backends()`` when they are collected, so adding
a name to that list is all they need; no file of the suite is touched. The plugin is named in
PYTEST_PLUGINS, which also reaches the pytest processes that the tests of AnyIO's own plugin start.
What it selects and writes depends on its options, which only the outermost process is given.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio._core import _eventloop

BACKEND = "mio"

SELECTOR = os.environ.get("MIO_CONFORMANCE_SELECTOR", "")
"""The selector to run on; the platform's best if it is empty.

`KQUEUE_MODEL` stands for a system with kqueue: the model of it, without what macOS lacks.
"""

KQUEUE_MODEL = "kqueue model"

MACOS_LACKS = {
    os: ("eventfd", "pidfd_open", "waitid"),  # waitid: before Python 3.13
    socket: ("MSG_CMSG_CLOEXEC", "SOCK_CLOEXEC", "SOCK_NONBLOCK"),
}


def become_a_system_with_kqueue() -> None:
    """Install the model of kqueue, and take away what macOS does not have."""
    path = Path(__file__).parents[2] / "models" / "kqueue.py"
    spec = importlib.util.spec_from_file_location("kqueue_model", path)
    assert spec is not None
    assert spec.loader is not None
    model = importlib.util.module_from_spec(spec)
    sys.modules["kqueue_model"] = model
    spec.loader.exec_module(model)
    for name, value in model.NAMES.items():
        setattr(select, name, value)
    for module, names in MACOS_LACKS.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)


if SELECTOR == KQUEUE_MODEL:
    become_a_system_with_kqueue()

import anyio_mio  # noqa: E402, F401 - importing it registers the backend
from anyio_mio._backend.backend import MioBackend  # noqa: E402

if BACKEND not in _eventloop.BACKENDS:
    _eventloop.BACKENDS = (*_eventloop.BACKENDS, BACKEND)  # type: ignore[assignment]


NAME = SELECTOR.removesuffix(" model")


class OnOneSelector(MioBackend):  # type: ignore[misc] # final, for everybody else
    """The backend, on a selector that the tests cannot ask for themselves."""

    @classmethod
    def run(cls, func: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        return super().run(func, args, kwargs, {"selector": NAME, **options})

    @classmethod
    def create_test_runner(cls, options: dict[str, Any]) -> Any:
        return super().create_test_runner({"selector": NAME, **options})


if SELECTOR:
    _eventloop.loaded_backends[BACKEND] = OnOneSelector


@pytest.fixture(scope="module", params=anyio.get_all_backends())
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Stands before AnyIO's fixture of this name, whose parameters were fixed before this import.

    The suite's own conftest.py stands before both.
    """
    return request.param


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mio conformance")
    group.addoption("--mio-report", help="run what concerns mio; write the outcomes to this file")
    group.addoption("--mio-exclude", action="append", default=[], help="leave these items out")


def pytest_configure(config: pytest.Config) -> None:
    report = config.getoption("mio_report")
    if report:
        config.pluginmanager.register(Run(Path(report), config.getoption("mio_exclude")))
        give_inner_runs_time()


SLOWER = 10
"""How much slower a machine that has much to do may be than the suite's authors suppose."""


def give_inner_runs_time() -> None:
    """Lengthen the limits of the pytest processes that tests start, which hold on an idle machine.

    One is 3 seconds, a limit against hanging, for what takes one.
    """
    run = pytest.Pytester.run

    def run_longer(self: pytest.Pytester, *args: Any, timeout: Any = None, **how: Any) -> Any:
        return run(self, *args, timeout=timeout and timeout * SLOWER, **how)

    pytest.Pytester.run = run_longer  # type: ignore[method-assign]


class Run:
    """Selects items, and counts how they end."""

    def __init__(self, report: Path, exclude: list[str]) -> None:
        self._report = report
        self._exclude = [re.compile(as_expression(pattern)) for pattern in exclude]
        self._outcomes: dict[str, str] = {}
        self._excluded: list[str] = []

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        applicable = [item for item in items if concerns_mio(item)]
        selected = [item for item in applicable if not self._is_excluded(item)]
        self._excluded = sorted(item.nodeid for item in set(applicable) - set(selected))
        config.hook.pytest_deselected(items=list(set(items) - set(selected)))
        items[:] = selected

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._outcomes[nodeid] = "crashed"  # until there is a report of it
        self._write()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = outcome_of(report)
        if outcome and self._outcomes[report.nodeid] not in ("failed", "error"):
            self._outcomes[report.nodeid] = outcome

    def pytest_sessionfinish(self) -> None:
        self._write()

    def _is_excluded(self, item: pytest.Item) -> bool:
        return any(pattern.fullmatch(item.nodeid) for pattern in self._exclude)

    def _write(self) -> None:
        # Rewritten at each start, so that a process that dies leaves a report too.
        counts = Counter(self._outcomes.values())
        bad = {
            nodeid: outcome
            for nodeid, outcome in self._outcomes.items()
            if outcome not in ("passed", "skipped", "xfailed")
        }
        self._report.write_text(
            json.dumps({"counts": counts, "bad": bad, "excluded": self._excluded})
        )


def concerns_mio(item: pytest.Item) -> bool:
    """Whether it is a variant on mio, or runs pytest on all backends."""
    callspec = getattr(item, "callspec", None)
    parameters = [] if callspec is None else list(callspec.params.values())
    if BACKEND in [value for value in parameters if isinstance(value, str)]:
        return True
    is_inner_run = "testdir" in getattr(item, "fixturenames", ())
    return is_inner_run and "get_available_backends" in names_in(item)


def names_in(item: pytest.Item) -> tuple[str, ...]:
    """The global names and attributes that a test's function uses."""
    function = getattr(item, "function", None)
    return () if function is None else function.__code__.co_names


def outcome_of(report: pytest.TestReport) -> str:
    """What a report says of its item; nothing if the item goes on."""
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if report.when == "call":
        return "xpassed" if hasattr(report, "wasxfail") else "passed"
    return ""


def as_expression(pattern: str) -> str:
    """A regular expression for a pattern in which only ``*`` is special."""
    return re.escape(pattern).replace(r"\*", ".*")
