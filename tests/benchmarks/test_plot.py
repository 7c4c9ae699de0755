from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.plot import LABEL_HEIGHT, Axis, Line, bar_chart, line_chart, short

SVG = "{http://www.w3.org/2000/svg}"


def test_equal_factors_are_equal_distances() -> None:
    axis = Axis([1.0, 100.0], 0.0, 200.0)

    assert [axis.place(x) for x in (1, 10, 100)] == [0, 100, 200]


def test_ticks_are_round_and_on_the_axis() -> None:
    assert Axis([1.0, 100_000.0], 0, 1).ticks() == [1, 10, 100, 1000, 10_000, 100_000]
    assert Axis([7.0, 60.0], 0, 1).ticks() == [10, 20, 50]


def test_an_axis_of_one_value_has_room_on_both_sides() -> None:
    assert Axis([10.0], 0.0, 100.0).place(10) == 50


def test_large_numbers_are_short() -> None:
    assert [short(x) for x in (0.5, 20, 4000, 1e6)] == ["0.5", "20", "4k", "1M"]


def test_a_line_chart_is_well_formed_and_escapes_its_words() -> None:
    chart = line_chart("a < b", "n", "µs", [Line("one & two", [(1, 1), (10, 5)])])

    root = ElementTree.fromstring(chart)

    assert "one & two" in [each.text for each in root.iter(f"{SVG}text")]
    assert len(list(root.iter(f"{SVG}circle"))) == 2


def test_names_of_lines_that_end_together_stay_apart() -> None:
    lines = [Line(name, [(1, 5), (10, 5)]) for name in ("a", "b", "c")]

    heights = re.findall(r'y="([\d.]+)"[^>]*style', line_chart("t", "x", "y", lines))

    first, second, third = (float(each) for each in heights)
    assert second - first >= LABEL_HEIGHT
    assert third - second >= LABEL_HEIGHT


def test_a_bar_is_as_long_as_its_multiple() -> None:
    chart = bar_chart("t", [("row", {"mio": 1.0, "trio": 3.0})])

    widths = [
        float(each.attrib["width"])
        for each in ElementTree.fromstring(chart).iter(f"{SVG}rect")
        if "fill" in each.attrib
    ]
    assert widths[1] / widths[0] == pytest.approx(3, rel=0.01)
