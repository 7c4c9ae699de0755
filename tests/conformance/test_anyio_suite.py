"""AnyIO's own test suite, unmodified, passes on mio."""

from __future__ import annotations

import select
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from anyio_mio.poll import available_selectors
from tests.conformance import suite

FEWEST = 900
"""Items that even the oldest supported AnyIO has for a backend: fewer means that the selection,
and not the backend, is broken."""


SELECTORS = [*available_selectors(), *(["kqueue model"] if hasattr(select, "epoll") else [])]
"""Those of this platform, and a system with kqueue as `tests/models/kqueue.py` has it."""


@pytest.mark.conformance
@pytest.mark.slow
@pytest.mark.timeout(suite.SECONDS + 60)
@pytest.mark.parametrize("selector", SELECTORS)
def test_the_suite_of_anyio_passes(
    selector: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    result = suite.run(tmp_path, selector)

    record_property("summary", str(result))
    assert result.bad == {}, result.output[-20_000:]
    assert result.status == 0, result.output[-20_000:]
    assert result.counts["passed"] >= FEWEST


def test_each_exclusion_has_a_reason() -> None:
    entries = tomllib.loads((suite.HERE / "exclusions.toml").read_text())["exclude"]

    assert [entry["items"] for entry in entries if not entry["reason"].strip()] == []
    assert {entry.get("when") for entry in entries} <= {None, *suite.HOSTS}


def test_an_exclusion_holds_only_where_it_is_said_to() -> None:
    assert suite.excluded_items(["no-names"]) == ["tests/test_sockets.py::test_getaddrinfo[mio]"]
    assert suite.excluded_items([]) == []


def test_the_inner_pytest_does_not_see_the_outer_one() -> None:
    inherited = {name for name in suite.environment("level") if name.startswith("PYTEST_")}

    assert inherited == {"PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
