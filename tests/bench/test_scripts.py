"""The programs in benchmarks/ run, and the tables they make have the figures in them."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = runpy.run_path(str(ROOT / "benchmarks" / "figures.py"))

pytestmark = pytest.mark.slow


def lines_of(script: str, *arguments: str) -> list[str]:
    """What a program prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_bursts_are_measured_and_every_connection_is_counted() -> None:
    [line] = lines_of("bursts.py", "--bursts=8", "--connections=16", "--backends=mio")

    assert line.startswith("mio          8")
    assert "accepts a wake-up" in line


def test_requests_to_an_asgi_application_are_measured() -> None:
    pytest.importorskip("anycorn")
    pytest.importorskip("starlette")

    few = ["--connections=2", "--rounds=1", "--seconds=0.1", "--backends=mio"]
    [line] = lines_of("asgi.py", *few)

    assert line.startswith("mio      CPU")
    assert not line.endswith(" 0 requests/s")


@pytest.mark.parametrize("script", ["bursts.py", "asgi.py"])
def test_a_backend_that_cannot_run_is_refused_with_those_that_can(script: str) -> None:
    pytest.importorskip("anycorn")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        lines_of(script, "--backends=moi")

    assert caught.value.returncode == 2
    assert "'moi' is no backend that can run here; right: mio," in caught.value.stderr


@pytest.mark.parametrize("sizes", ["0", "8,", "many"])
def test_sizes_that_are_none_are_refused(sizes: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        lines_of("bursts.py", f"--bursts={sizes}")

    assert f"{sizes!r} is no list of sizes" in caught.value.stderr


def test_pyperf_measures_a_row(tmp_path: Path) -> None:
    pytest.importorskip("pyperf")
    results = tmp_path / "results.json"

    lines = lines_of("micro.py", "--rows=nested", "--debug-single-value", f"--output={results}")

    assert lines[-1].startswith("nested: ")
    assert results.exists()


def measured(cpu_us: float, calls: dict[str, float]) -> dict[str, Any]:
    return {
        "median": {"cpu_us": cpu_us},
        "spread": {"cpu_us": 0.02},
        "problem": "",
        "system_calls": calls,
    }


def test_a_table_has_what_was_measured_and_leaves_out_what_was_not() -> None:
    rows = {
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
    machine = {
        "processor": "Z80",
        "processors": 1,
        "system": "CP/M",
        "python": "CPython 3.11",
        "versions": {"anyio": "4.16"},
    }

    document = {"machine": machine, "options": {"rounds": 5, "seconds": 1}, "rows": rows}
    text = FIGURES["tables"](document).replace(FIGURES["NO_BREAK"], " ")

    assert "| echo: a round trip | 7.5 (2%) | 1,500 (2%) |" in text
    assert "| echo | 2.00 |  |" in text
    assert "| spawn |" not in text
