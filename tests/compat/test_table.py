"""The table of libraries names tests that exist, and the run says which versions it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from anyio_mio._backend.compat import PATCHES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and "`tests/" in line
]
PACKAGES = {"Starlette's TestClient": "starlette", "MCP SDK (`mcp`)": "mcp"}


def test_every_row_names_a_test_that_exists() -> None:
    cells = [row[-1].split(", ") for row in ROWS]
    files = [re.fullmatch(r"`(tests/\S+\.py)`", each) for cell in cells for each in cell]

    assert all(files)
    assert [match[1] for match in files if match and not (ROOT / match[1]).is_file()] == []


def test_every_program_that_is_tested_is_in_the_table() -> None:
    programs = {f"`tests/programs/{each.name}`" for each in ROOT.glob("tests/programs/test_*.py")}

    assert programs <= {row[-1] for row in ROWS}


@pytest.mark.parametrize("module", list(PATCHES))
def test_the_page_names_each_library_that_is_patched(module: str) -> None:
    assert module.partition(".")[0] in PAGE


def test_the_run_says_which_versions_it_had(
    record_property: Callable[[str, object], None],
) -> None:
    names = {PACKAGES.get(name, name.lower()) for row in ROWS for name in row[0].split(", ")}

    found = [f"{name} {installed(name)}" for name in sorted(names - {""})]

    record_property("summary", f"libraries: {', '.join(found)}")
    assert f"anyio {version('anyio')}" in found


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
