"""The log of `anyio-mio serve`: events of the supervisor, and the log and output of workers."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias, final

import anyio

from anyio_mio._supervisor.writer import NonBlockingWriter, descriptor_writer

SUPERVISOR: Final = "anyio_mio.supervisor"
"""Name of the logger of the supervisor's own events."""

OUTPUT: Final = "stderr"
"""Name of the logger of lines that a worker printed."""

LAST_WORDS: Final = 1.0
"""Seconds that a late reader gets at the end."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the log.

    Attributes:
        event: what happened; the message of a log record.
        level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
        logger: the logger's name.
        time: seconds since the epoch.
        fields: further values.
        exception: the text of a traceback; empty if there is none.
    """

    event: str
    level: str = "info"
    logger: str = SUPERVISOR
    time: float = field(default_factory=time.time)
    fields: dict[str, object] = field(default_factory=dict)
    exception: str = ""


Format: TypeAlias = Callable[[Entry], str]


def as_plain_text(entry: Entry) -> str:
    """Return ``2026-01-31 12:00:00 worker ready worker=1 pid=4711``; a printed line as it is."""
    if entry.logger == OUTPUT:
        return entry.event
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
    pairs = "".join(f" {name}={one_word(value)}" for name, value in entry.fields.items())
    if entry.logger == SUPERVISOR:
        return f"{now} {entry.event}{pairs}"
    end = f"\n{entry.exception}" if entry.exception else ""
    return f"{now} {entry.level.upper()} {entry.logger}{pairs}: {entry.event}{end}"


def as_json(entry: Entry) -> str:
    """Return ``{"time": 1769860800.0, "level": "info", "event": "worker ready", …}``."""
    record: dict[str, object] = {
        "time": round(entry.time, 3),
        "level": entry.level,
        "logger": entry.logger,
        "event": entry.event,
        **entry.fields,
    }
    if entry.exception:
        record["exception"] = entry.exception
    return json.dumps(record, default=str)


FORMATS: Final[dict[str, Format]] = {"plain": as_plain_text, "json": as_json}


@final
class Log:
    """Writes entries to standard error, and never waits for the reader.

    Args:
        form: makes a line of an entry, or several lines if plain text has a traceback.
        writer: writes the lines; to standard error by default.

    Attributes:
        print: prints a line. The live table replaces it, to stay below the lines.
    """

    def __init__(self, form: Format, writer: NonBlockingWriter | None = None) -> None:
        self._form = form
        self.writer = writer or descriptor_writer(2)
        self.print: Callable[[str], None] = self.write

    def __call__(self, event: str, /, *, level: str = "info", **fields: object) -> None:
        """Log an event of the supervisor.

        Args:
            event: what happened.
            level: its level.
            **fields: further values.
        """
        self.add(Entry(event, level, fields=fields))

    def add(self, entry: Entry) -> None:
        """Log an entry."""
        lost = self.writer.dropped
        if lost and self.writer.flush():
            self.writer.dropped -= lost
            self.print(self._form(Entry("log lines lost", "warning", fields={"count": lost})))
        self.print(self._form(entry))

    async def flush_when_late(self, seconds: float = 0.1) -> None:
        """Write the lines that were kept for a late reader, until cancelled."""
        while True:
            await anyio.sleep(seconds)
            self.writer.flush()

    def close(self) -> None:
        """Wait a moment for a late reader."""
        self.writer.close(LAST_WORDS)

    def write(self, line: str) -> None:
        """Write a line."""
        self.writer.write(f"{line}\n".encode(errors="backslashreplace"))


def one_word(value: object) -> str:
    """Return a value as one word, without control characters."""
    text = str(value)
    plain = text.isprintable() and text and " " not in text and '"' not in text
    return text if plain else json.dumps(text)


def open_standard_descriptors() -> None:
    """Open ``/dev/null`` as 0, 1 and 2 if they are closed, so that no socket gets the number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for as long as the process runs
