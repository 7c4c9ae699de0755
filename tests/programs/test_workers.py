"""anycorn's own worker processes, with ``worker_class="mio"`` in its configuration."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.programs.conftest import SECONDS, Address, address_of

pytest.importorskip("anycorn", reason="anycorn is not installed")
pytest.importorskip("starlette", reason="starlette is not installed")

ROOT = Path(__file__).parents[2]

REQUEST = b"POST /mirror/ HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n"


@pytest.fixture
def anycorn() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.programs.anycorn_worker"]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):  # then all of them have ended
            os.killpg(process.pid, signal.SIGKILL)


def address_in(log: IO[str] | None) -> Address:
    """Reads anycorn's log until the worker runs."""
    assert log is not None
    lines = []
    for line in log:
        lines.append(line)
        found = re.search(r"Running on (http://\S+)", line)
        if found:
            return address_of(found[1])
    raise AssertionError("anycorn ended before its worker ran: " + "".join(lines))


@pytest.mark.anyio
async def test_sigterm_lets_a_request_finish_and_ends_the_worker(
    anycorn: subprocess.Popen[str],
) -> None:
    with anyio.fail_after(SECONDS):
        address = await anyio.to_thread.run_sync(address_in, anycorn.stderr)
        async with await anyio.connect_tcp(*address) as stream:
            answer = BufferedByteReceiveStream(stream)
            await stream.send(REQUEST + b"before")
            await answer.receive_until(b"before\r\n", 4096)
            anycorn.send_signal(signal.SIGTERM)
            await stream.send(b"after")
            rest = await answer.receive_until(b"0\r\n\r\n", 4096)
        status = await anyio.to_thread.run_sync(anycorn.wait)

    assert (rest, status) == (b"5\r\nafter\r\n", 0)
