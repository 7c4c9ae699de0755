"""Known inputs, those that hypothesis makes of them, and a short run of atheris."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

SCRIPT = Path(__file__).with_name("fuzz.py")


@pytest.mark.parametrize("name", TARGETS)
def test_known_inputs_hold(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_hold(name: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(
        seed=st.sampled_from(SEEDS[name]),
        other=st.sampled_from(SEEDS[name]),
        at=st.integers(0, 2000),
        count=st.integers(0, 20),
        noise=st.binary(max_size=8) | st.sampled_from([b"\r\n", b"\n", b"\0", b" ", b":", b"0"]),
    )
    def hold(seed: bytes, other: bytes, at: int, count: int, noise: bytes) -> None:
        place = at % (len(seed) + 1)
        TARGETS[name](seed[:place] + noise + seed[place + count :] + other)

    hold()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.timeout(60)
def test_a_short_run_of_atheris_finds_nothing(name: str, tmp_path: Path) -> None:
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed (pip install atheris)")
    done = subprocess.run(
        [sys.executable, SCRIPT, name, "-runs=1000", "-max_len=2048", "-seed=1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=50,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},  # atheris's own
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
