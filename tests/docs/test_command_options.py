"""The page of the command has every option, with its default, and none that does not exist."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType

import click
import pytest

from anyio_mio.cli.group import group
from tests.docs.page import ROOT

SCRIPT = ROOT / "docs" / "command_options.py"
TEXT = (ROOT / "docs" / "reference" / "command-line.md").read_text()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the page has Linux's selectors")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("command_options", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_options_of_today(script: ModuleType) -> None:
    assert script.write(TEXT) == TEXT, "run: python docs/command_options.py"


@pytest.mark.parametrize("name", group.commands)
def test_each_command_has_its_place_on_the_page(name: str) -> None:
    assert re.search(rf"^## .*\banyio-mio {name}\b", TEXT, re.MULTILINE)
    assert TEXT.count(f"<!-- options of {name}: begin -->") == 1


def test_a_new_option_is_written_and_an_old_one_goes(script: ModuleType) -> None:
    option = click.Option(["--colour"], default="red", help="The colour.", metavar="NAME")
    command = click.Command("paint", params=[option])

    assert "| `--colour NAME` | `red` | The colour. |" in script.table(command)
    assert "--colour" not in script.write(TEXT)
