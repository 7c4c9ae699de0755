"""What mio does on Windows, on a stand-in for it; the same programs run on a real one."""

from __future__ import annotations

import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from anyio_mio.poll._sys import winsock
from tests.models import windows
from tests.windows.programs import PROGRAMS

SCRIPT = Path(__file__).with_name("programs.py")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, check=False, text=True, timeout=60
    )
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    found = {name.strip(): outcome for outcome, _, name in lines}
    assert list(found) == list(PROGRAMS), done.stderr[-5000:]
    return found | {name: done.stderr[-5000:] for name in found if found[name] == "FAILED"}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", PROGRAMS)
def test_windows_runs(name: str, outcomes: dict[str, str]) -> None:
    assert outcomes[name] == "ok"


def test_the_stand_in_refuses_what_windows_refuses() -> None:
    with pytest.raises(ValueError, match="too many"):
        windows.limited_select(range(513), [], [], 0)
    with pytest.raises(OSError, match="no socket"):
        windows.limited_select([0], [], [], 0)
    with pytest.raises(OSError, match="invalid argument"):
        windows.limited_select([], [], [], 0)


def test_a_time_is_rounded_up_and_never_down() -> None:
    assert list(winsock.timeval(1.5)) == [1, 500_000]
    assert list(winsock.timeval(0)) == [0, 0]
    assert list(winsock.timeval(1e-9)) == [0, 1]


def test_sets_of_any_length_are_passed_and_read_back() -> None:
    asked: list[list[int]] = []

    def call(_: int, *addresses: int | None) -> int:
        asked.extend(windows.take(address) for address in addresses[:3] if address is not None)
        for address, fds in zip(addresses, ([3], [], [7, 8]), strict=False):
            windows.put(address, fds) if address is not None else None
        return 3

    many = list(range(2000))

    assert winsock.select_many(call, many, [5], [7, 8], None) == ([3], [], [7, 8])
    assert asked == [many, [5], [7, 8]]


def test_a_socket_takes_the_room_of_a_pointer() -> None:
    assert array(winsock.SOCKET).itemsize == (8 if sys.maxsize > 2**32 else 4)
