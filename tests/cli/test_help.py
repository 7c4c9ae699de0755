"""What `--help` says: each option with its default, and readable on 40 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

import click
import pytest
from click.testing import Result

from anyio_mio.asgi.options import DEFAULT_TRUSTED, Settings
from anyio_mio.cli.application_options import HTTP
from anyio_mio.cli.group import group

Invoke = Callable[..., Result]


def options() -> Iterator[tuple[str, click.Option]]:
    for name, command in group.commands.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield f"{name} {parameter.opts[0]}", parameter


OPTIONS = dict(options())


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_has_a_sentence(name: str) -> None:
    assert (OPTIONS[name].help or "").endswith(".")


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.multiple])
def test_an_option_that_may_be_repeated_says_so(name: str) -> None:
    assert "Repeatable." in (OPTIONS[name].help or "")


@pytest.mark.parametrize("name", HTTP)
def test_an_option_for_applications_has_the_default_of_the_server(name: str) -> None:
    [option] = [each for each in OPTIONS.values() if each.name == name]
    [field] = [each for each in fields(Settings) if each.name == name]

    if name == "trusted":
        assert option.show_default == " and ".join(DEFAULT_TRUSTED)
    elif name == "access_log":  # on or off here, a format there
        assert not option.default
    elif field.default in (None, ()):
        assert option.show_default == "no limit" or option.multiple
    else:
        assert option.get_default(click.Context(group.commands["serve"])) == field.default


@pytest.mark.parametrize("name", ["", *group.commands])
@pytest.mark.parametrize("columns", [40, 80])
def test_help_fits_into_the_terminal(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))

    result = invoke(*name.split(), "--help")

    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if len(line) > columns] == []


def test_defaults_are_shown(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(invoke("serve", "--help").stdout.split())

    assert "for its next request. [default: 75.0;" in text
    assert "[default: proxy-headers]" in text
    assert "unix:PATH. Repeatable. [default: (127.0.0.1:8000)]" in text


@pytest.mark.parametrize("name", ["", *group.commands])
def test_the_range_of_a_number_is_said_in_words(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = invoke(*name.split(), "--help").stdout

    assert "RANGE" not in text
    assert "<=x" not in text
    assert "x>=" not in text


@pytest.mark.parametrize("given", ["0.0001", "nan"])
def test_a_number_that_is_out_of_range_is_refused_with_the_range(
    invoke: Invoke, given: str
) -> None:
    result = invoke("serve", "echo", "--keep-alive", given)

    assert result.exit_code == 2
    assert "0.01 to 86400" in result.stderr or "'nan' is not a valid number" in result.stderr
