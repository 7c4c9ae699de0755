"""Running `anyio-mio serve` as a process, and reading its log."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LIMIT = 20.0
"""Seconds that anything may take here."""


class Serve:
    """A running command; its log is read in a thread of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, event: str, times: int = 1) -> dict[str, Any]:
        """The log's next line about an event, or the one after so many."""
        while True:
            line = self._lines.get(timeout=LIMIT)
            assert line is not None, f"it ended without {event!r}: {self.seen}"
            self.seen.append(line)
            times -= line["event"] == event
            if not times:
                return line

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def status(self) -> int:
        return self.process.wait(LIMIT)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(json.loads(line) if line.startswith("{") else {"event": line.strip()})
        self._lines.put(None)


@contextmanager
def serving(target: str, *options: str, **popen: Any) -> Iterator[Serve]:
    """``anyio-mio serve TARGET`` with JSON logs, killed at the end if it still runs."""
    command = [sys.executable, "-m", "anyio_mio", "serve", target, "--log-format", "json"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, **popen)
    with process:
        try:
            yield Serve(process)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(LIMIT)
                except subprocess.TimeoutExpired:
                    process.kill()


def port_of(serve: Serve) -> int:
    """The port, from the first line of the log."""
    address: str = serve.wait_for("serving")["address"]
    return int(address.rpartition(":")[2])


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=LIMIT)


def ping(port: int) -> None:
    """One connection to an echo server, and one round trip."""
    with connect(port) as client:
        client.sendall(b"ping")
        assert client.recv(4) == b"ping"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
