"""Reload when a source file changes, for development.

If watchfiles is installed, the system reports changes through it. Otherwise the times of all Python
files below the folder are compared twice a second.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import importlib.util
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio

PAUSE: Final = 0.5
"""Seconds between two looks at the files."""

IGNORED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


async def reload_on_change(folder: Path) -> None:
    """Request a reload from this process at each change of a Python file below ``folder``."""
    if importlib.util.find_spec("watchfiles") is not None:
        from watchfiles import PythonFilter, awatch

        async for _ in awatch(folder, watch_filter=PythonFilter()):
            os.kill(os.getpid(), signal.SIGHUP)
    before = await anyio.to_thread.run_sync(times_below, folder)
    while True:
        await anyio.sleep(PAUSE)
        now = await anyio.to_thread.run_sync(times_below, folder)
        if now != before:
            before = now
            os.kill(os.getpid(), signal.SIGHUP)


def times_below(folder: Path) -> dict[str, int]:
    """Return the time of the last change of each Python file below a folder."""
    found: dict[str, int] = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if each not in IGNORED and each[0] != "."]
        for path in (os.path.join(place, name) for name in files if name.endswith(".py")):
            with suppress(FileNotFoundError):
                found[path] = os.stat(path).st_mtime_ns
    return found
