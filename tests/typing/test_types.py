"""What type checkers say of the public API."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MISTAKES = Path(__file__).with_name("mistakes.py")
REFERENCE = ROOT / "docs" / "reference"
PUBLIC = ("anyio_mio", "anyio_mio.serving", "anyio_mio.lowlevel", "anyio_mio.poll")
MODULES = (*PUBLIC, "anyio_mio.testing", "anyio_mio.console", "anyio_mio.trio", "anyio_mio.asyncio")


def wrong_lines() -> list[int]:
    lines = MISTAKES.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith("# wrong")]


def run(*command: str, cwd: Path = ROOT) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
        timeout=170,
    )
    if "No module named" in done.stderr or "error while" in done.stdout.lower():
        pytest.skip(f"{command[0]} is not there: {done.stderr or done.stdout}")
    return done.stdout


@pytest.mark.timeout(180)
def test_mypy_finds_each_mistake_and_nothing_else(tmp_path: Path) -> None:
    output = run("mypy", "--strict", "--cache-dir", str(tmp_path), str(MISTAKES))
    found = {int(line) for line in re.findall(r"mistakes\.py:(\d+): error", output)}

    assert sorted(found) == wrong_lines(), output


@pytest.mark.usefixtures("pyright")
@pytest.mark.timeout(180)
def test_pyright_finds_each_mistake_and_nothing_else() -> None:
    output = run("pyright", "--outputjson", "--pythonpath", sys.executable, str(MISTAKES))
    found = {
        each["range"]["start"]["line"] + 1
        for each in json.loads(output)["generalDiagnostics"]
        if each["severity"] == "error"
    }

    assert sorted(found) == wrong_lines(), output


@pytest.mark.usefixtures("pyright")
@pytest.mark.timeout(180)
def test_the_types_of_the_public_names_are_complete(tmp_path: Path) -> None:
    output = run(
        *("pyright", "--outputjson", "--pythonpath", sys.executable),
        *("--verifytypes", "anyio_mio", "--ignoreexternal"),
        cwd=tmp_path,
    )
    symbols = json.loads(output)["typeCompleteness"]["symbols"]
    public = re.compile(rf"({'|'.join(re.escape(name) for name in MODULES)})\.[A-Za-z]\w*(\.\w+)*")
    incomplete = {
        symbol["name"]: [each["message"] for each in symbol["diagnostics"]]
        for symbol in symbols
        if public.fullmatch(symbol["name"])
        and symbol["isExported"]
        and is_public(symbol["name"])
        # Without a message of its own, an unknown type is one of a base class elsewhere.
        and any("annotation" in each["message"] for each in symbol["diagnostics"])
    }

    assert incomplete == {}


def is_public(name: str) -> bool:
    """Whether the first name behind a public module is one that it exports."""
    module = max((each for each in MODULES if name.startswith(f"{each}.")), key=len)
    first = name.removeprefix(f"{module}.").split(".")[0]
    return first in importlib.import_module(module).__all__


@pytest.mark.parametrize("name", MODULES)
def test_the_reference_has_each_public_name(name: str) -> None:
    module = importlib.import_module(name)
    text = "\n".join(page.read_text() for page in REFERENCE.glob("*.md"))
    missing = [each for each in module.__all__ if not re.search(rf"\b{each}\b", text)]

    assert missing == []


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    import anyio_mio

    assert set(dir(anyio_mio)) == {*anyio_mio.__all__, "__version__"}
    assert re.fullmatch(r"\d+\.\d+.*", anyio_mio.__version__)
