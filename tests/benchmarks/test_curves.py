"""How costs grow: the arithmetic, the smallest measurements, and the program with its options."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anyio_mio._bench import backends
from benchmarks import curves
from benchmarks.curves import CURVES, Curve, draw, growth, sizes

Invoke = Callable[..., Result]
COSTS = {"mio": 5.0, "trio": 12.0, "asyncio": 15.0}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is measured at once."""
    monkeypatch.setattr(backends, "installed", lambda: list(COSTS))
    quick = replace(CURVES["tasks"], measure=lambda backend, *_: COSTS[backend])
    monkeypatch.setitem(CURVES, "tasks", quick)


@pytest.fixture
def invoke() -> Invoke:
    """Runs the program's command line in this process."""
    return lambda *arguments: CliRunner().invoke(curves.curves, arguments)


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


@pytest.mark.usefixtures("measured")
def test_a_curve_is_drawn_and_its_growth_is_told(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("tasks", "--out", str(tmp_path), "--most", "1000")

    assert result.exit_code == 0
    exponents = next(line for line in result.stdout.splitlines() if "exponent" in line)
    assert exponents.split() == ["exponent", "1.00", "1.00", "1.00"]
    assert (tmp_path / "tasks.svg").read_text().startswith("<svg")
    assert list(json.loads((tmp_path / "curves.json").read_text())["tasks"]["cpu_us"]) == list(
        COSTS
    )


@pytest.mark.usefixtures("measured")
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_measured(
    invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "figures"
    result = invoke("tasks", "--out", str(folder))

    assert result.exit_code == 2
    assert f"cannot make {folder}: Not a directory" in result.stderr
    assert result.stdout == ""


@pytest.mark.usefixtures("measured")
def test_a_curve_says_where_its_figure_is(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("tasks", "--out", str(tmp_path), "--most", "10")

    assert str(tmp_path) in result.stdout.replace("\n", "")


@pytest.mark.usefixtures("measured")
def test_the_growth_of_a_single_size_is_not_told(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("tasks", "--out", str(tmp_path), "--most", "1")

    assert result.exit_code == 0
    assert "exponent" not in result.stdout


def test_a_damaged_file_of_numbers_is_refused_before_measuring(
    invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "curves.json").write_text("{")

    result = invoke("tasks", "--out", str(tmp_path))

    assert result.exit_code == 1
    assert "right: remove it" in result.stderr
