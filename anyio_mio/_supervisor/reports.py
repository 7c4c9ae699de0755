"""The pipe from a worker to its supervisor: one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, final

import anyio

CHUNK = 65536


@final
class ReportWriter:
    """The worker's end. A supervisor that is gone is no reason to fail."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, kind: str, /, **fields: object) -> None:
        """Send one report; it is lost if nobody reads."""
        line = json.dumps({"kind": kind, **fields}) + "\n"
        with suppress(OSError):
            os.write(self._fd, line.encode())


@final
class ReportReader:
    """The supervisor's end; it closes the descriptor when the worker has closed its own."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        buffer = b""
        try:
            while chunk := await self._read():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)
        finally:
            anyio.notify_closing(self._fd)
            os.close(self._fd)

    async def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._fd, CHUNK)
            except BlockingIOError:
                await anyio.wait_readable(self._fd)
