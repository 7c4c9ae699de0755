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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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

    def rest(self) -> list[dict[str, Any]]:
        """What is left of the log of a command that has ended."""
        return list(iter(lambda: self._lines.get(timeout=LIMIT), None))

    def wait_for_any(self, field: str) -> str:
        """A field of the log's next line that has it."""
        while True:
            line = self._lines.get(timeout=LIMIT)
            assert line is not None, f"it ended without {field!r}: {self.seen}"
            self.seen.append(line)
            if field in line:
                return str(line[field])

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def status(self) -> int:
        return self.process.wait(LIMIT)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(json.loads(line) if line.startswith("{") else {"event": line.strip()})
        self._lines.put(None)


def command(target: str) -> list[str]:
    """The command line that serves a target."""
    return [sys.executable, "-m", "anyio_mio", "serve", target]


def user_module(folder: Path, source: str, **environment: str) -> dict[str, Any]:
    """Write a module of the user's; how to start a process that finds it."""
    (folder / "user_module.py").write_text(source)
    return {"cwd": folder, "env": {**os.environ, "PYTHONPATH": os.getcwd(), **environment}}


@contextmanager
def serving(target: str, *options: str, **popen: Any) -> Iterator[Serve]:
    """``anyio-mio serve TARGET`` with JSON logs, killed at the end if it still runs."""
    line = [*command(target), "--log-format", "json", *options]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, **popen)
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
    address: str = serve.wait_for("listening")["address"]
    return int(address.rpartition(":")[2])


def until(condition: Callable[[], object]) -> None:
    """Ask again until it is so."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=LIMIT)


def ping(port: int) -> None:
    """One connection to an echo server, and one round trip."""
    with connect(port) as client:
        client.sendall(b"ping")
        assert client.recv(4) == b"ping"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
