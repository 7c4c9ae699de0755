"""CPython's own tests of asyncio pass with mio's loop in the place of asyncio's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.asyncio.cpython_suite import MODULES, SECONDS, is_shipped, run_module


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_cpythons_suite_passes(
    module: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if not is_shipped(module):
        pytest.skip(f"this Python ships no test.test_asyncio.{module}")
    counts, log = run_module(module, [], tmp_path)
    record_property("summary", f"CPython's {module}: {counts}")

    assert counts["failed"] == [], log[-4000:]
    assert counts["on mio"]
