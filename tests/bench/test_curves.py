from __future__ import annotations

import pytest

from anyio_mio._bench.curves import CURVES, Curve, draw, growth, sizes


def costs(curve: Curve, each: dict[int, float]) -> dict[int, list[float]]:
    return {size: [cost] for size, cost in each.items()}


def test_a_constant_cost_is_linear_growth() -> None:
    curve = CURVES["tasks"]

    assert growth(curve, costs(curve, {100: 5.0, 1000: 5.0})) == pytest.approx(1)


def test_a_cost_that_grows_with_the_number_is_quadratic() -> None:
    curve = CURVES["tasks"]

    assert growth(curve, costs(curve, {100: 5.0, 1000: 50.0})) == pytest.approx(2)


def test_a_cost_that_grows_with_the_payload_is_linear() -> None:
    curve = CURVES["payloads"]

    assert growth(curve, costs(curve, {1024: 1.0, 16384: 16.0})) == pytest.approx(1)


def test_sizes_need_descriptors_only_where_they_are_connections() -> None:
    assert max(sizes(CURVES["connections"], 1024)) == 256
    assert max(sizes(CURVES["tasks"], 1024)) == 100_000


@pytest.mark.parametrize("name", CURVES)
def test_the_smallest_size_of_a_curve_is_measured(name: str) -> None:
    curve = CURVES[name]

    assert curve.measure("mio", curve.points[0], 0.05) > 0


def test_a_figure_names_its_axes_and_its_lines() -> None:
    curve = CURVES["tasks"]

    figure = draw(curve, {"mio": costs(curve, {1: 9.0, 10: 4.0}), "trio": {1: [20.0], 10: [30.0]}})

    for words in (curve.title, curve.below, curve.beside, "mio", "trio", "prefers-color-scheme"):
        assert words in figure
