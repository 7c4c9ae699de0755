"""The programs in benchmarks/ that measure by themselves run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

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


def test_requests_to_an_asgi_application_are_measured() -> None:
    pytest.importorskip("anycorn")
    pytest.importorskip("starlette")

    few = ["--connections=2", "--rounds=1", "--seconds=0.1", "--backends=mio"]
    [line] = lines_of("asgi.py", *few)

    assert line.startswith("mio      CPU")
    assert not line.endswith(" 0 requests/s")


def test_requests_by_httpx_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    monkeypatch.chdir(ROOT)

    one, many = lines_of("http_client.py", "--backends=mio", "--rounds=1", "--seconds=0.01")

    assert one.startswith("httpx: mio ")
    assert many.startswith("httpx-20: mio ")


def test_a_backend_that_cannot_run_is_refused_with_those_that_can() -> None:
    pytest.importorskip("anycorn")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        lines_of("asgi.py", "--backends=moi")

    assert caught.value.returncode == 2
    assert "'moi' is no backend that can run here; right: mio," in caught.value.stderr


def test_pyperf_measures_a_row(tmp_path: Path) -> None:
    pytest.importorskip("pyperf")
    results = tmp_path / "results.json"

    lines = lines_of("micro.py", "--rows=nested", "--debug-single-value", f"--output={results}")

    assert lines[-1].startswith("nested: ")
    assert results.exists()
