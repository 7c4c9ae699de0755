"""One line for each event, plain or JSON, on standard error."""

from __future__ import annotations

import json
import sys
import time
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
        print(f"{now} {event}{pairs}", file=self._stream, flush=True)


@final
class JsonLog:
    """``{"time": 1769860800.0, "event": "worker ready", "worker": 1, "pid": 4711}``."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def __call__(self, event: str, /, **fields: object) -> None:
        """See `Log`."""
        record: dict[str, Any] = {"time": round(time.time(), 3), "event": event, **fields}
        print(json.dumps(record, default=str), file=self._stream, flush=True)


def text_of(value: object) -> str:
    """A value that stays one word."""
    text = str(value)
    return json.dumps(text) if not text or any(c.isspace() or c == '"' for c in text) else text
