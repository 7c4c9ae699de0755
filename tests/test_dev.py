import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

import dev


def test_an_old_python_is_refused_with_the_right_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))

    assert dev.main(["check", "--", "-k", "accept"]) == 2

    assert "right: python3.11 dev.py check -- -k accept" in capsys.readouterr().err


def test_arguments_for_pytest_stand_behind_two_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(["check", "-k", "accept"]) == 2

    assert "right: python3 dev.py check -- -k accept" in capsys.readouterr().err


def test_an_unknown_command_is_answered_with_the_right_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert dev.main(["chekc"]) == 2

    assert "right: python3 dev.py check" in capsys.readouterr().err


def test_every_set_names_extras_and_a_group_that_exist() -> None:
    metadata = tomllib.loads((dev.ROOT / "pyproject.toml").read_text())

    for extras, group in dev.SETS.values():
        assert set(extras.split(",")) <= set(metadata["project"]["optional-dependencies"])
        assert group in metadata["dependency-groups"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment of another place, with an old stamp and a file of its own."""
    folder = tmp_path / ".venv-dev"
    folder.mkdir()
    (folder / "old").touch()
    (folder / "installed.json").write_text("an old stamp")
    monkeypatch.setattr(dev, "ENVIRONMENT", folder)
    monkeypatch.setattr(dev, "BIN", folder / "bin")
    monkeypatch.setattr(dev, "STAMP", folder / "installed.json")
    return folder


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, environment: Path) -> list[list[str]]:
    """What is run; nothing is, but that the environment's folder is made."""
    commands: list[list[str]] = []

    def run(command: list[str]) -> int:
        commands.append(command)
        environment.mkdir(exist_ok=True)
        return 0

    monkeypatch.setattr(dev, "run", run)
    return commands


def test_an_environment_for_other_requirements_is_made_anew(
    commands: list[list[str]], environment: Path
) -> None:
    dev.prepare("demo")

    assert [command[2] for command in commands] == ["venv", "pip"]
    assert not (environment / "old").exists()
    assert dev.STAMP.read_text() == dev.stamp("demo")


@pytest.mark.parametrize("name", ["demo", "check"])
def test_an_environment_for_every_check_serves_each_command(
    commands: list[list[str]], name: str
) -> None:
    dev.STAMP.write_text(dev.stamp("check"))

    dev.prepare(name)

    assert commands == []


def test_an_environment_for_the_demo_alone_is_made_anew_for_the_checks(
    commands: list[list[str]],
) -> None:
    dev.STAMP.write_text(dev.stamp("demo"))

    dev.prepare("check")

    assert [command[2] for command in commands] == ["venv", "pip"]


@pytest.mark.parametrize("breaks_at", ["venv", "pip"])
def test_one_that_was_broken_off_is_made_anew_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch, commands: list[list[str]], breaks_at: str
) -> None:
    count = dev.run

    def interrupted(command: list[str]) -> int:
        if command[2] == breaks_at:
            raise KeyboardInterrupt
        return count(command)

    with monkeypatch.context() as patch:
        patch.setattr(dev, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            dev.prepare("check")
    commands.clear()
    dev.prepare("check")

    assert [command[2] for command in commands] == ["venv", "pip"]


def test_nothing_but_its_own_folder_is_removed(
    monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]
) -> None:
    removed: list[Path] = []
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: removed.append(path))

    dev.prepare("check")

    assert [path.name for path in removed] == [".venv-dev"]


def test_each_step_says_how_long_it_took(
    commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    dev.prepare("check")

    assert re.search(r"-- install ok, \d+\.\d s", capsys.readouterr().out)


@pytest.mark.parametrize(
    "given, options", [([], ["-n", "2"]), (["--", "tests/net", "--pdb"], ["tests/net", "--pdb"])]
)
def test_all_tests_run_in_two_processes_and_a_choice_in_one(
    commands: list[list[str]], given: list[str], options: list[str]
) -> None:
    assert dev.main(["check", *given]) == 0

    assert commands[-1] == ["pytest", *options]


def test_a_step_that_fails_is_named_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch,
    commands: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = dev.run
    monkeypatch.setattr(dev, "run", lambda command: count(command) or command == ["mypy"])

    assert dev.main(["check"]) == 1

    assert commands[-1][0] == "pytest"
    assert "FAILED: types" in capsys.readouterr().err
