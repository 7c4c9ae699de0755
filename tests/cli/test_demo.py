import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from anyio_mio._bench import backends
from anyio_mio._bench.demo import Measurement
from anyio_mio._bench.load import LoadFigures
from anyio_mio._bench.protocol import MeasurementError

Invoke = Callable[..., Result]


def measurement(backend: str, *_: object) -> Measurement:
    load = LoadFigures(
        connections=10,
        verified_bytes=640,
        round_trips=10,
        seconds=2.0,
        p50_us=90.0,
        p95_us=150.0,
        p99_us=200.0,
    )
    return Measurement(backend, load, load, 12.5, {1: 2, 4: 2} if backend == "mio" else None)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every backend is installed and measures the same, at once."""
    monkeypatch.setattr(backends, "installed", lambda: ["mio", "trio", "asyncio"])
    monkeypatch.setattr("anyio_mio.cli.demo.measure_demo", measurement)


@pytest.mark.slow
@pytest.mark.parametrize("backend", backends.installed())
def test_a_backend_is_measured_with_every_byte_verified(invoke: Invoke, backend: str) -> None:
    result = invoke("demo", "--backends", backend, "--seconds", "0.4", "--json")

    assert result.exit_code == 0, result.stderr
    figures = json.loads(result.stdout)["backends"][backend]
    assert figures["bursts"]["connections"] > 0
    assert figures["steady"]["verified_bytes"] % 64 == 0
    assert figures["cpu_us_per_round_trip"] > 0


@pytest.mark.usefixtures("measured")
def test_all_installed_backends_are_compared_with_the_first(invoke: Invoke) -> None:
    result = invoke("demo")

    assert result.exit_code == 0
    assert "the figure of mio divided by this backend's" in result.stdout
    rates = next(line for line in result.stdout.splitlines() if "round trips / s" in line)
    assert rates.split()[-5:] == ["5", "5", "1.00", "5", "1.00"]


@pytest.mark.usefixtures("measured")
def test_a_narrow_terminal_gets_lists(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    result = invoke("demo")

    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[lines.index("p99, µs") + 1].split() == ["mio", "200"]


@pytest.mark.usefixtures("measured")
def test_the_batches_of_the_accept_loop_are_shown(invoke: Invoke) -> None:
    result = invoke("demo", "--backends", "mio")

    assert "mio: 10 accepts in 4 wake-ups of the listener" in result.stdout


@pytest.mark.usefixtures("measured")
def test_a_listener_that_does_not_count_has_no_histogram(invoke: Invoke) -> None:
    result = invoke("demo", "--backends", "trio")

    assert result.exit_code == 0
    assert "wake-ups" not in result.stdout


@pytest.mark.usefixtures("measured")
def test_one_failure_leaves_the_other_figures_and_sets_the_status(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(backend: str, *_: object) -> Measurement:
        if backend == "trio":
            raise MeasurementError("other bytes came back on round trip 7")
        return measurement(backend)

    monkeypatch.setattr("anyio_mio.cli.demo.measure_demo", measure)

    result = invoke("demo", "--json")

    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert list(document["backends"]) == ["mio", "asyncio"]
    assert document["complete"] is False
    assert "trio failed: other bytes came back on round trip 7" in result.stderr


@pytest.mark.usefixtures("measured")
def test_an_unknown_backend_is_answered_with_the_right_line(invoke: Invoke) -> None:
    result = invoke("demo", "--backends", "moi")

    assert result.exit_code == 2
    assert "wrong: --backends moi" in result.stderr
    assert "right: --backends mio,trio,asyncio" in result.stderr


@pytest.mark.slow
def test_ctrl_c_ends_it_with_status_130_and_no_traceback() -> None:
    line = [sys.executable, "-m", "anyio_mio", "demo", "--backends", "mio", "--seconds", "20"]
    with subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 20
        while len(children_of(process.pid)) < 2:  # the server and the load
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert err == ""


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
