"""The command `bench`, with measurements that take no time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from anyio_mio._bench import backends, rows
from anyio_mio._bench.protocol import MeasurementError

Invoke = Callable[..., Result]
COSTS = {"mio": 5.0, "trio": 12.0, "asyncio": 15.0}


def cost(backend: str, *_: object) -> dict[str, float]:
    return {"cpu_us": COSTS[backend], "rate": 1000.0}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is measured at once; system calls are not counted."""
    monkeypatch.setattr(backends, "installed", lambda: list(COSTS))
    fast = [replace(row, measure=cost, drive=None, figure="cpu_us") for row in rows.ROWS]
    monkeypatch.setattr(rows, "ROWS", tuple(fast))


@pytest.mark.usefixtures("measured")
def test_the_method_comes_before_the_figures(invoke: Invoke) -> None:
    result = invoke("bench", "echo", "--no-syscalls")

    assert result.exit_code == 0
    assert result.stdout.index("take turns through 3 rounds") < result.stdout.index("echo:")
    assert "Not shown: networks" in " ".join(result.stdout.split())


@pytest.mark.usefixtures("measured")
def test_costs_are_multiples_of_the_first_backends(invoke: Invoke) -> None:
    result = invoke("bench", "echo", "churn", "--no-syscalls")

    line = next(line for line in result.stdout.splitlines() if "trio   " in line)
    assert line.split() == ["trio", "12.00", "1,000", "0%", "2.40"]
    assert "over 2 rows: mio 1.00, trio 2.40, asyncio 3.00" in result.stdout


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("columns", [24, 40])
def test_a_narrow_terminal_gets_whole_figures(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = invoke("bench", "echo", "--no-syscalls")

    assert max(map(len, result.stdout.splitlines())) <= columns
    assert "…" not in result.stdout
    assert "12.00" in result.stdout


@pytest.mark.usefixtures("measured")
def test_all_rounds_are_written_as_json(invoke: Invoke, tmp_path: Path) -> None:
    document = tmp_path / "rows.json"

    invoke("bench", "echo", "--json", str(document), "--rounds", "2")

    written = json.loads(document.read_text())
    assert written["rows"]["echo"]["backends"]["trio"]["rounds"] == 2 * [cost("trio")]
    assert written["machine"]["python"]


def test_a_backend_that_fails_is_named_and_sets_the_status(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> dict[str, float]:
        raise MeasurementError("the server is stuck")

    monkeypatch.setattr(rows, "ROWS", (replace(rows.ROWS[0], measure=fail, drive=None),))

    result = invoke("bench", "--backends", "asyncio", "--rounds", "1")

    assert result.exit_code == 1
    assert "asyncio: the server is stuck" in result.stdout


def test_an_unknown_row_is_answered_with_the_rows(invoke: Invoke) -> None:
    result = invoke("bench", "ehco")

    assert result.exit_code == 2
    assert "there is no row ehco" in result.stderr
    assert "anyio-mio bench latency echo" in result.stderr


@pytest.mark.usefixtures("measured")
def test_mio_with_a_spin_is_compared_where_it_is_asked_for(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COSTS, "mio-busy", 4.0)
    monkeypatch.setattr(backends, "installed", lambda: ["mio"])

    asked = invoke("bench", "latency", "--no-syscalls", "--backends", "mio-busy,mio")
    unasked = invoke("bench", "latency", "--no-syscalls")

    assert asked.exit_code == 0
    assert [line.split()[0] for line in asked.stdout.splitlines() if "1,000" in line] == [
        "mio-busy",
        "mio",
    ]
    assert "mio-busy" not in unasked.stdout


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("line", ["bench echo --no-syscalls", "demo --backends mio"])
def test_progress_is_on_standard_error(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal, where the bar is drawn
    monkeypatch.setattr("anyio_mio.cli.demo.measure_demo", no_demo)

    result = invoke(*line.split())

    assert "━" in result.stderr
    assert "━" not in result.stdout


def no_demo(*_: object) -> None:
    raise MeasurementError("nothing was measured")


def test_the_list_says_what_each_row_is(invoke: Invoke) -> None:
    result = invoke("bench", "--list")

    assert result.exit_code == 0
    assert "memory-stream" in result.stdout


@pytest.mark.usefixtures("measured")
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    invoke: Invoke, tmp_path: Path
) -> None:
    path = tmp_path / "no such folder" / "file"
    result = invoke("bench", "echo", "--no-syscalls", "--json", str(path))

    assert result.exit_code == 2
    assert f"cannot write {path}: No such file or directory" in result.stderr
    assert result.stdout == ""


@pytest.mark.usefixtures("measured")
def test_a_refused_command_line_leaves_no_empty_file(invoke: Invoke, tmp_path: Path) -> None:
    invoke("bench", "--json", str(tmp_path / "new.json"), "--rounds", "0")

    assert list(tmp_path.iterdir()) == []
