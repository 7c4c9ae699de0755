"""Each kind of load, a count that is known, and failures that are noted."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from anyio_mio._bench import rounds
from anyio_mio._bench.backends import TRIO_PROGRAMS
from anyio_mio._bench.inside import measure_program
from anyio_mio._bench.measuring import count_system_calls, measure, measure_beside, measure_burst
from anyio_mio._bench.processes import Drive
from anyio_mio._bench.programs import GOES
from anyio_mio._bench.protocol import MEBIBYTE, MeasurementError
from anyio_mio._bench.rounds import Cell, measure_row
from anyio_mio._bench.rows import ROWS, Row, choose
from anyio_mio._bench.system_calls import can_count, counting

pytestmark = pytest.mark.slow

DRIVES = [
    Drive("tcp", 3),
    Drive("tcp", 2, MEBIBYTE),
    Drive("tls", 3),
    Drive("udp", 3),
    Drive("unix", 3),
    Drive("rolling", 4),
    Drive("bursts", 4),
    Drive("upload", 1, MEBIBYTE),
    Drive("download", 1, MEBIBYTE),
]


@pytest.mark.parametrize("drive", DRIVES, ids=lambda drive: f"{drive.kind}-{drive.size}")
def test_each_kind_of_load_gets_every_byte_back(drive: Drive) -> None:
    if drive.kind == "tls" and shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    figures = measure("mio", drive, 0.1)

    assert figures["rate"] > 0
    assert figures["cpu_us"] > 0
    assert 0 < figures["p50_us"] <= figures["p95_us"] <= figures["p99_us"]


@pytest.mark.parametrize("program", TRIO_PROGRAMS)
def test_a_trio_program_is_driven_as_a_backend_is(program: str) -> None:
    figures = measure(program, Drive("tcp", 3), 0.1)

    assert figures["rate"] > 0
    assert figures["cpu_us"] > 0


@pytest.mark.parametrize("backend", ["mio", *TRIO_PROGRAMS])
@pytest.mark.parametrize("drive", [Drive("flood", 2, 1000), Drive("pieces", 2, 1000)], ids=str)
def test_the_figures_beside_hogs_are_those_of_the_quiet_connection(
    backend: str, drive: Drive
) -> None:
    figures = measure_beside(backend, drive, 0.3)

    assert figures["cpu_us"] > 0
    assert 0 < figures["p50_us"] <= figures["p95_us"] <= figures["p99_us"]


def test_a_trio_program_has_no_other_rows() -> None:
    with pytest.raises(MeasurementError, match="rows of TCP connections only"):
        measure_program("trio-hosted", "checkpoint", 0.0)
    with pytest.raises(MeasurementError, match="invalid choice: 'udp'"):
        measure("trio-native", Drive("udp", 1), 0.1)


def test_the_figures_beside_bursts_are_those_of_the_quiet_connection() -> None:
    figures = measure_burst("mio", Drive("bursts", 8, every=0.02), 0.1)

    assert figures["rate"] <= 8 / 0.02 * 1.5  # bursts that are put off are few
    assert 0 < figures["p50_us"] <= figures["p95_us"] <= figures["p99_us"]
    assert figures["sleeps"] > 0


def test_the_demonstration_is_a_row() -> None:
    [row] = choose(("demo",))

    figures = row.measure("mio", 0.2)

    assert figures["rate"] > 0
    assert figures["connections"] > 0
    assert figures["cpu_us"] > 0


@pytest.mark.parametrize("name", GOES)
def test_each_program_runs_on_mio(name: str) -> None:
    figures = measure_program("mio", name, 0.0, n=20)

    assert figures["rate"] > 0


@pytest.mark.skipif(not can_count(), reason="strace is not installed")
def test_system_calls_are_counted_without_setting_up_and_taking_down() -> None:
    calls = count_system_calls("mio", Drive("tcp", 50), 0.2)
    if not calls:
        pytest.skip("strace may not trace here")

    assert calls["recvfrom"] == pytest.approx(1, abs=0.02)
    assert calls["sendto"] == pytest.approx(1, abs=0.02)
    assert "accept4" not in calls


@pytest.mark.skipif(not can_count(), reason="strace is not installed")
def test_counting_a_process_that_is_gone_is_an_error_and_no_count_of_nothing() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    with pytest.raises(MeasurementError, match="No such process"), counting(gone.pid):
        pass


def test_a_backend_that_cannot_be_measured_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measure_it(backend: str, seconds: float) -> dict[str, float]:
        if backend == "trio":
            raise MeasurementError("the load ended without a result")
        return {"cpu_us": 2.0}

    row = Row("row", "group", "nothing", measure_it)

    cells = measure_row(row, ["mio", "trio"], 3, 0.1, lambda row, backend: None, count=True)

    assert cells["mio"].median("cpu_us") == 2.0
    assert cells["trio"].median("cpu_us") is None
    assert cells["trio"].problem == "the load ended without a result"


def test_backends_take_turns_in_changing_order() -> None:
    assert "".join(rounds.order(["a", "b", "c"], 3)) == "abccbaabc"


def test_the_spread_is_the_distance_of_the_rounds_as_a_share_of_the_median() -> None:
    cell = Cell([{"cpu_us": 9.0}, {"cpu_us": 10.0}, {"cpu_us": 12.0}])

    assert cell.median("cpu_us") == 10.0
    assert cell.spread("cpu_us") == pytest.approx(0.3)


def test_rows_are_chosen_by_name_and_by_group() -> None:
    assert choose(()) == list(ROWS)
    assert [row.name for row in choose(("spawn", "transfer"))] == ["upload", "download", "spawn"]
    assert not {row.name for row in ROWS} & {row.group for row in ROWS}
    with pytest.raises(LookupError, match="ehco"):
        choose(("ehco",))
