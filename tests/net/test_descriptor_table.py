"""The table of descriptors: a burst of connections does not make the system enlarge it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from anyio_mio._net.descriptor_table import MOST

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that waits")

PROGRAM = """
import os, resource, sys
import anyio, anyio_mio
from pathlib import Path

def size():
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if "FDSize" in x]
    return int(line.split()[1])

async def listen():
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
    async with await anyio.create_tcp_listener(local_host="127.0.0.1"):
        return size()

print(anyio_mio.run(listen), len(os.listdir("/proc/self/fd")))
child = os.fork()
if not child:
    print(size(), anyio_mio.run(listen), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def outcome(limit: int) -> list[list[int]]:
    """What the program prints."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(limit)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]


def test_the_first_listener_makes_room_for_all_descriptors_that_the_process_may_open() -> None:
    [[size, left_open], _] = outcome(1024)

    assert size == 1024
    assert left_open <= 5


def test_it_makes_room_for_so_many_at_the_most() -> None:
    import resource

    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit <= MOST:
        pytest.skip("this process may not open so many")
    [[size, _], _] = outcome(MOST + 1)

    assert size == MOST


def test_a_forked_child_makes_room_again() -> None:
    [_, [inherited, size]] = outcome(4096)

    assert inherited < 4096
    assert size == 4096


def test_a_process_without_a_free_descriptor_listens_all_the_same() -> None:
    [[size, _], _] = outcome(16)

    assert size >= 16
