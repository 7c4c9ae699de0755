"""`anyio-mio doctor`: each finding, and the line that says what to change."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from anyio_mio.cli import doctor
from anyio_mio.cli.group import group
from anyio_mio.lowlevel import TESTED_ANYIO


def test_the_command_reports_every_finding() -> None:
    result = CliRunner().invoke(group, ["doctor"])

    assert result.exit_code == 0
    for what in ("Python:", "selector:", "anyio:", "extra trio:", "open descriptors:"):
        assert what in result.output


def test_a_narrow_terminal_gets_lines_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    result = CliRunner().invoke(group, ["doctor"])

    assert max(map(len, result.output.splitlines())) <= 40
    few = doctor.descriptor_finding(1024, 4096, unlimited=-1)
    assert few.in_columns(80).splitlines()[1].startswith(" " * 24 + "a server")


def test_an_anyio_that_was_not_tested_is_to_be_changed() -> None:
    first, last = (".".join(map(str, each)) for each in TESTED_ANYIO)

    assert doctor.anyio_finding(f"{first}.0").state == "ok"
    assert doctor.anyio_finding(f"{last}.9").state == "ok"
    newer = doctor.anyio_finding("99.0.0")
    assert newer.state == "change"
    assert f"{first} to {last}" in str(newer)
    assert doctor.anyio_finding(None).state == "change"


def test_few_descriptors_are_to_be_changed() -> None:
    few = doctor.descriptor_finding(1024, 4096, unlimited=-1)

    assert few.state == "change"
    assert "ulimit -n" in str(few)
    assert doctor.descriptor_finding(65536, 65536, unlimited=-1).state == "ok"
    assert doctor.descriptor_finding(-1, -1, unlimited=-1).state == "ok"


@pytest.mark.parametrize("number, state", [("128", "change"), ("4096", "ok")])
def test_a_short_queue_is_to_be_changed(tmp_path: Path, number: str, state: str) -> None:
    setting = tmp_path / "net" / "core" / "somaxconn"
    setting.parent.mkdir(parents=True)
    setting.write_text(f"{number}\n")

    [finding] = doctor.linux_limits(tmp_path)

    assert finding.state == state
    assert ("sysctl -w net.core.somaxconn=1024" in str(finding)) == (state == "change")


def test_few_ports_are_to_be_changed(tmp_path: Path) -> None:
    setting = tmp_path / "net" / "ipv4" / "ip_local_port_range"
    setting.parent.mkdir(parents=True)
    setting.write_text("60000 60100\n")

    [finding] = doctor.linux_limits(tmp_path)

    assert "sysctl -w net.ipv4.ip_local_port_range" in str(finding)


def test_a_selector_that_looks_at_everything_is_worth_knowing() -> None:
    assert doctor.selector_finding(("level",)).state == "note"
    assert str(doctor.selector_finding(("epoll", "level"))).endswith("epoll (also: level)")


def test_what_has_not_run_on_a_platform_is_said() -> None:
    assert doctor.platform_finding("linux").state == "ok"
    assert "nothing has run here" in str(doctor.platform_finding("darwin"))
    assert "nothing has run here" in str(doctor.platform_finding("aix"))


def test_a_missing_extra_is_answered_with_how_to_get_it() -> None:
    finding = doctor.extra_finding("asgi", ("anyio", "no_such_package"))

    assert "pip install 'anyio-mio[asgi]'" in str(finding)
    assert "without no_such_package" in str(finding)


@pytest.mark.parametrize("locked", [True, False])
def test_a_free_threaded_python_is_told_of_threads(
    monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    monkeypatch.setattr("sys._is_gil_enabled", lambda: locked, raising=False)

    state, advice = doctor.interpreter_lock()

    assert (state == "note", "threads=N" in advice) == (not locked, not locked)
