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


@pytest.mark.parametrize("application", ["raw", "starlette", "fastapi"])
def test_requests_to_an_application_are_measured(application: str) -> None:
    for name in ("httptools", "starlette", "fastapi"):
        pytest.importorskip(name)

    few = ["--connections=2", "--rounds=1", "--seconds=0.1", "--servers=mio"]
    head, line = lines_of("asgi.py", f"--application={application}", *few)

    assert head.split() == [application, "CPU/request", "requests/s", "p50", "p95", "p99"]
    assert line.startswith("mio ")
    assert float(line.split()[3]) > 0


@pytest.mark.parametrize("server", ["uvicorn-uvloop", "uvicorn-asyncio", "anycorn-trio"])
def test_other_servers_are_measured_beside_it(server: str) -> None:
    for name in ("uvicorn", "httptools", "uvloop", "anycorn", "trio"):
        pytest.importorskip(name)

    few = ["--connections=2", "--rounds=1", "--seconds=0.1", f"--servers={server}"]
    _, line = lines_of("asgi.py", "--application=raw", *few)

    assert line.startswith(f"{server} ")


def test_requests_by_httpx_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    monkeypatch.chdir(ROOT)

    one, many = lines_of("http_client.py", "--backends=mio", "--rounds=1", "--seconds=0.01")

    assert one.startswith("httpx: mio ")
    assert many.startswith("httpx-20: mio ")


def test_a_server_that_cannot_run_is_refused_with_those_that_can() -> None:
    pytest.importorskip("httptools")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        lines_of("asgi.py", "--servers=moi")

    assert caught.value.returncode == 2
    assert "'moi' cannot run here; right: mio," in caught.value.stderr


def test_pyperf_measures_a_row(tmp_path: Path) -> None:
    pytest.importorskip("pyperf")
    results = tmp_path / "results.json"

    lines = lines_of("micro.py", "--rows=nested", "--debug-single-value", f"--output={results}")

    assert lines[-1].startswith("nested: ")
    assert results.exists()


@pytest.mark.parametrize("row", ["top", "slow_step"])
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_what_an_observer_costs_is_measured(row: str) -> None:
    line, *_ = lines_of("observing.py", row, "--rounds=1", "--seconds=0.2")

    assert line.startswith(f"{row}: ")
    assert "µs of CPU each" in line
