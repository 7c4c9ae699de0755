"""The log of a worker: it sends its records to the supervisor, which writes them in one format.

The root logger gets a handler that sends records over the channel. If the application configures
`logging` itself, it replaces this handler. The supervisor reads the worker's standard error as
lines.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import faulthandler
import logging
import os
import signal
import threading
import traceback
from types import TracebackType
from typing import Final, final

from anyio_mio._supervisor.channel import Channel
from anyio_mio._supervisor.writer import descriptor_writer, text_file

LOGGER: Final = logging.getLogger("anyio_mio.worker")

LONGEST_TEXT: Final = 32 * 1024
"""Characters of a message or traceback that are sent."""

TRACEBACK_SIGNAL: Final = signal.SIGQUIT
"""The signal that makes a worker print the stacks of its threads, even in a blocked loop."""


def send_logs(channel: Channel, level: str) -> None:
    """Send log records, warnings and unhandled exceptions over the channel.

    Args:
        channel: the way to the supervisor.
        level: name of the lowest level that is sent.
    """
    errors = descriptor_writer(2)
    sys.stderr = sys.__stderr__ = text_file(errors, 2)  # type: ignore[misc]
    faulthandler.register(TRACEBACK_SIGNAL, file=2, all_threads=True)
    root = logging.getLogger()
    root.addHandler(ChannelHandler(channel))
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    sys.excepthook = log_unhandled
    threading.excepthook = log_unhandled_in_thread
    for writer in (errors, channel.writer):
        os.register_at_fork(after_in_child=writer.reset_after_fork)


@final
class ChannelHandler(logging.Handler):
    """Sends log records to the supervisor.

    Args:
        channel: the way there.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            self._channel.send(
                "log",
                time=record.created,
                level=record.levelname.lower(),
                logger=record.name,
                event=shortened(record.getMessage()),
                exception=shortened(text_of_exception(record)),
            )
        except Exception:  # noqa: BLE001 - as every handler: a bad record is not the program's end
            self.handleError(record)


def text_of_exception(record: logging.LogRecord) -> str:
    """Return the traceback that belongs to a record, and its stack."""
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts = traceback.format_exception(*record.exc_info)
    if record.stack_info:
        parts.append(record.stack_info)
    return "".join(parts).rstrip("\n")


def shortened(text: str) -> str:
    """Return the text; only its beginning and end if it is too long."""
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


def log_unhandled(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Take the place of `sys.excepthook`."""
    LOGGER.critical("the worker failed", exc_info=(kind, error, trace))


def log_unhandled_in_thread(failed: threading.ExceptHookArgs) -> None:
    """Take the place of `threading.excepthook`."""
    if failed.exc_type is not SystemExit and failed.exc_value is not None:
        name = failed.thread.name if failed.thread else "?"
        details = (failed.exc_type, failed.exc_value, failed.exc_traceback)
        LOGGER.error("thread %r failed", name, exc_info=details)
