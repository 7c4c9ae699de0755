import sys
import tomllib

import pytest

import dev


def refusal(*arguments: str) -> str:
    with pytest.raises(dev.Failure) as failure:
        dev.require_python(list(arguments))
    return str(failure.value)


def test_an_old_python_is_answered_with_a_newer_one_that_is_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    monkeypatch.setattr(dev, "runs", lambda name: name == "python3.12")

    assert "right: python3.12 dev.py check -- -k accept" in refusal("check", "--", "-k", "accept")


def test_an_old_python_alone_is_answered_with_where_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    monkeypatch.setattr(dev, "runs", lambda name: False)

    assert "python.org has one" in refusal("demo")


def test_arguments_for_pytest_stand_behind_two_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(["check", "-k", "accept"]) == 2

    assert "right: python3 dev.py check -- -k accept" in capsys.readouterr().err


def test_an_unknown_command_is_answered_with_the_right_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert dev.main(["chekc"]) == 2

    assert "right: python3 dev.py check" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["-s", "--pdb", "-n0", "-n", "--numprocesses=4"])
def test_pytest_runs_alone_where_it_was_asked_to(given: str) -> None:
    assert dev.pytest_arguments([given]) == [given]


def test_pytest_has_two_workers_otherwise() -> None:
    assert dev.pytest_arguments(["-k", "accept"]) == ["-n", "2", "-k", "accept"]


def test_groups_are_resolved_with_those_they_include() -> None:
    lines = dev.group_requirements("dev")

    names = {line.split(">")[0].split(";")[0] for line in lines}
    assert {"uvloop", "pytest", "mypy", "sphinx"} <= names


def test_every_set_names_extras_and_groups_that_exist() -> None:
    metadata = tomllib.loads((dev.ROOT / "pyproject.toml").read_text())

    for extras, groups in dev.SETS.values():
        assert set(extras) <= set(metadata["project"]["optional-dependencies"])
        assert set(groups) <= set(metadata["dependency-groups"])


def test_a_stamp_for_another_key_counts_as_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stamp = tmp_path_factory.mktemp("venv") / "installed.json"
    stamp.write_text('{"key": "old", "sets": ["check"]}')
    monkeypatch.setattr(dev, "STAMP", stamp)
    monkeypatch.setattr(dev, "python", lambda: sys.executable)

    assert dev.read_stamp("new") == []
    assert dev.read_stamp("old") == ["check"]
