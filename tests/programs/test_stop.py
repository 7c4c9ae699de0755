"""SIGTERM stops a server program in good order: what was asked is answered, then it exits with 0.

The signal may be sent as soon as an answer has come: requests are served by then, and the trigger
listens for signals since before the first connection was accepted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

import anyio_mio as anyio_mio

httpx = pytest.importorskip("httpx")
pytest.importorskip("anycorn")
pytest.importorskip("starlette")

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.programs.server_program"]

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running_program() -> AsyncIterator[tuple[Process, str]]:
    """The program and its address; all that is done with it is bounded, and it is ended."""
    with anyio.fail_after(15):
        async with await anyio.open_process(COMMAND, cwd=ROOT, stderr=None) as process:
            assert process.stdout is not None
            line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 100)
            yield process, line.decode()


async def test_a_request_that_is_under_way_at_sigterm_is_answered_whole() -> None:
    async with (
        running_program() as (process, url),
        httpx.AsyncClient(base_url=url, timeout=10) as client,
        client.stream("GET", "/held") as response,
    ):
        parts = response.aiter_raw()
        first = await anext(parts)
        process.send_signal(signal.SIGTERM)
        rest = b"".join([part async for part in parts])
        status = await process.wait()

    assert (first, rest, status) == (b"before ", b"after", 0)


async def test_an_idle_connection_does_not_hold_up_the_end() -> None:
    async with running_program() as (process, url), httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/short")
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(5):
            status = await process.wait()

    assert (answer.text, status) == ("short", 0)
