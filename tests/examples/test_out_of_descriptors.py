"""The example of the accept policy says what it shows, and it is true."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "out_of_descriptors.py"


def run(*backends: str) -> str:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *backends],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=25,
    ).stdout


def test_on_mio_all_clients_are_served_and_the_server_lives() -> None:
    assert run("mio") == "mio: 200 of 200 were served, and the server lives\n"


def test_on_trios_backend_the_server_dies() -> None:
    pytest.importorskip("trio")

    out = run("trio")

    assert "the server is dead" in out
    assert "trio: 0 of 200" in out


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 60


def test_without_an_argument_it_compares_trio_with_mio() -> None:
    pytest.importorskip("trio")

    first, second = run().splitlines()

    assert first.startswith("trio: 0 of 200")
    assert second.startswith("mio: 200 of 200")


def test_a_wrong_name_is_answered_with_how_to_run_it() -> None:
    command = [sys.executable, str(EXAMPLE), "moi"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 1
    assert done.stderr == "usage: python examples/out_of_descriptors.py [mio|trio|asyncio]\n"
