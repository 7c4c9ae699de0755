"""One line for each event, plain or JSON, on standard error."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import Any, Protocol, TextIO, final


class Log(Protocol):
    """Where events go."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Write one event: what happened, and the figures and names that belong to it."""


@final
class PlainLog:
    """``2026-01-31 12:00:00 worker ready worker=1 pid=4711``."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def __call__(self, event: str, /, **fields: object) -> None:
        """See `Log`."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        pairs = "".join(f" {name}={text_of(value)}" for name, value in fields.items())
        write(self._stream, f"{now} {event}{pairs}")


@final
class JsonLog:
    """``{"time": 1769860800.0, "event": "worker ready", "worker": 1, "pid": 4711}``."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def __call__(self, event: str, /, **fields: object) -> None:
        """See `Log`."""
        record: dict[str, Any] = {"time": round(time.time(), 3), "event": event, **fields}
        write(self._stream, json.dumps(record, default=str))


def write(stream: TextIO, line: str) -> None:
    """Write a line; a log that nobody reads any more is no reason to stop serving."""
    with suppress(OSError):
        print(line, file=stream, flush=True)


def text_of(value: object) -> str:
    """A value that stays one word."""
    text = str(value)
    return json.dumps(text) if not text or any(c.isspace() or c == '"' for c in text) else text
