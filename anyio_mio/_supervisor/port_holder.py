"""The process that listens on a TCP port, found in ``/proc``.

Linux lists the sockets with their inodes, and the descriptors of each process of the same user. The
processes of other users and containers stay unknown, and so do all on other systems.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
LISTENS: Final = "0A"
"""The state of a listening socket in ``/proc/net/tcp``."""


def find_port_holder(port: int) -> str | None:
    """Return a process that listens on a port, as ``name (process 4711)``; None if not known."""
    inodes = {f"socket:[{inode}]" for inode in listening_inodes(port)}
    for process in processes():
        if process.name != str(os.getpid()) and inodes & open_files(process):
            return f"{name_of(process)} (process {process.name})"
    return None


def listening_inodes(port: int) -> Iterator[str]:
    """Return the inodes of the sockets that listen on a port."""
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def processes() -> Iterator[Path]:
    """Return the folders of all processes, the oldest first, so that parents precede workers."""
    numbers = sorted(int(name) for name in names_in(PROC) if name.isdecimal())
    for number in numbers:
        yield PROC / str(number)


def open_files(process: Path) -> set[str]:
    """Return the targets of a process's descriptors; none if that is not allowed."""
    folder = process / "fd"
    found = set()
    for name in names_in(folder):
        with contextlib.suppress(OSError):  # it is closed by now
            found.add(os.readlink(folder / name))
    return found


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder; none if it is missing or belongs to another user."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def name_of(process: Path) -> str:
    """Return the name of a process's program."""
    try:
        return (process / "comm").read_text().strip()
    except OSError:  # it has ended by now
        return "a program"
