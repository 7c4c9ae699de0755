"""The figures and tables of the documentation have what was measured in them."""

from __future__ import annotations

from typing import Any

from benchmarks.figures import NO_BREAK, chart, merge, multiples, tables


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


def test_a_rate_stands_beside_its_times() -> None:
    times = {"cpu_us": 7.5, "rate": 1234.5, "p50_us": 500, "p95_us": 1500.0, "p99_us": 2500}
    row = {**ROWS["echo"], "backends": {"mio": {**measured(7.5, {}), "median": times}}}
    text = tables({**DOCUMENT, "rows": {"echo": row}}).replace(NO_BREAK, " ")

    assert "| echo | 1,234; 0.50, 1.50, 2.50 |" in text


def test_rows_that_are_measured_again_take_the_place_of_the_old_ones() -> None:
    again = {**DOCUMENT, "rows": {"spawn": ROWS["echo"], "new": ROWS["spawn"]}}
    merged = merge(DOCUMENT, again)

    assert list(merged["rows"]) == ["echo", "spawn", "new"]
    assert merged["rows"]["echo"] == merged["rows"]["spawn"] == ROWS["echo"]
