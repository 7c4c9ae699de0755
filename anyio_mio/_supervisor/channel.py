"""The channel between a worker and its supervisor: a pair of UNIX sockets, JSON both ways.

A message is one JSON object on a line, with its ``kind``. Workers send:

=============  ====================================================================================
kind           fields
=============  ====================================================================================
ready          none: it serves
alive          figures such as ``accepted``, ``open`` and ``memory``; sent regularly by its loop
log            a log record: ``time``, ``level``, ``logger``, ``event``, ``exception``
lost           ``count`` of messages that the supervisor did not read in time
metrics        ``families``; an answer, and once more at the end
cannot serve   ``error``
stopped        the fields of `anyio_mio.serving.ServeSummary`
=============  ====================================================================================

The supervisor sends two messages without fields: ``metrics`` asks for the metrics, and
``certificate`` makes the worker load the files of its certificate again. Receivers ignore kinds
that they don't know. The end of the stream means that the other process has ended.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from os import write
from socket import socket
from typing import Any, Final, final

import anyio

from anyio_mio._supervisor.writer import NonBlockingWriter

CHUNK: Final = 65536

LAST_WORDS: Final = 0.5
"""Seconds to deliver the remaining messages at the end."""


@final
class Channel:
    """One end.

    Args:
        sock: its socket, which the channel owns from now on.
    """

    def __init__(self, sock: socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.writer = NonBlockingWriter(partial(write, sock.fileno()))

    def send(self, kind: str, /, *, must_be_kept: bool = False, **fields: object) -> None:
        """Send a message, from any thread; never waits.

        Args:
            kind: its kind; see the module.
            must_be_kept: True to keep it even if the receiver is late.
            **fields: its fields, of types that JSON has.
        """
        lost = self.writer.dropped
        if lost and self.writer.flush():
            self.writer.dropped -= lost
            self.writer.write(encode("lost", {"count": lost}))
        self.writer.write(encode(kind, fields), must_be_kept=must_be_kept)

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Receive messages until the other end is gone."""
        buffer = b""
        while chunk := await self._receive():
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                yield json.loads(line)

    def deliver(self) -> None:
        """Wait a moment, at the end of the process, until the receiver has read the rest."""
        self.writer.close(LAST_WORDS)

    def close(self) -> None:
        """Close the socket, inside a run."""
        anyio.notify_closing(self._sock)
        self._sock.close()

    async def _receive(self) -> bytes:
        while True:
            with suppress(BlockingIOError):
                try:
                    return self._sock.recv(CHUNK)
                except ConnectionResetError:  # it ended without reading all of our messages
                    return b""
            await anyio.wait_readable(self._sock)


def encode(kind: str, fields: dict[str, object]) -> bytes:
    """Return one line."""
    return json.dumps({"kind": kind, **fields}, default=str).encode() + b"\n"
