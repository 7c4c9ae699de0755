"""The figures of README.md are those of the last measurement."""

from __future__ import annotations

from benchmarks.front_page import BEGIN, END, README, measured_text


def test_the_readme_has_the_tables_that_were_measured() -> None:
    shown = README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]

    assert shown.strip() == measured_text().strip(), "run python -m benchmarks.front_page"
