"""The figures and tables of the documentation have what was measured in them."""

from __future__ import annotations

from typing import Any

from benchmarks.figures import NO_BREAK, chart, multiples, tables


def measured(cpu_us: float, calls: dict[str, float]) -> dict[str, Any]:
    return {
        "median": {"cpu_us": cpu_us},
        "spread": {"cpu_us": 0.02},
        "problem": "",
        "system_calls": calls,
    }


ROWS = {
    "echo": {
        "what": "a round trip",
        "compared_by": "cpu_us",
        "backends": {"mio": measured(7.5, {"recv": 1, "send": 1}), "trio": measured(1500, {})},
    },
    "spawn": {
        "what": "a task",
        "compared_by": "cpu_us",
        "backends": {"mio": measured(7.4, {}), "trio": measured(20.9, {})},
    },
}
MACHINE = {
    "processor": "Z80",
    "processors": 1,
    "system": "CP/M",
    "python": "CPython 3.11",
    "versions": {"anyio": "4.16"},
}

DOCUMENT = {"machine": MACHINE, "options": {"rounds": 5, "seconds": 1}, "rows": ROWS}


def test_a_table_has_what_was_measured_and_leaves_out_what_was_not() -> None:
    text = tables(DOCUMENT).replace(NO_BREAK, " ")

    assert "| echo: a round trip | 7.5 (2%) | 1,500 (2%) |" in text
    assert "| echo | 2.00 |  |" in text
    assert "| spawn |" not in text


def test_bars_are_multiples_of_the_first_backends_cost() -> None:
    assert multiples(ROWS["echo"]) == {"mio": 1.0, "trio": 200.0}
    assert "a multiple of mio&#x27;s" in chart(DOCUMENT)
