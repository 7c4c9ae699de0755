from __future__ import annotations

from pathlib import Path

import pytest

from tests.guard.bounds import BOUNDS, within


def test_an_exceeded_bound_says_what_it_is_and_where_it_stands() -> None:
    name = "calls: a task"

    with pytest.raises(AssertionError, match=r"a task costs 99.00, not .*tests/guard/bounds.py"):
        within(name, 99)


def test_every_bound_has_a_test() -> None:
    others = [
        path for path in Path(__file__).parent.glob("test_*.py") if path.name != "test_bounds.py"
    ]
    tests = "".join(path.read_text() for path in others)

    def is_named(name: str) -> bool:
        return any(f'"{each}"' in tests for each in (name, name.rpartition("calls: ")[2]))

    assert [name for name in BOUNDS if not is_named(name)] == []
