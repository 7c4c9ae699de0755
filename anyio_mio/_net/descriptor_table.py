"""The process's table of descriptors, made large before the connections come.

Facts. Linux doubles the table when a descriptor does not fit into it: at 64, 128, 256, and so on.
In a process that has threads it waits then until no processor can still be reading the old table
(``synchronize_rcu()`` in the system's ``fs/file.c``). That takes 8 to 18 ms (measured), for which
the loop stands still. So in a server with one worker thread, the first burst of 256 connections
stopped all clients three times. The table never shrinks.

Decision. The first listener of a process makes room for all descriptors that the process may open,
or for `MOST`: it duplicates a descriptor to the last of these numbers, and closes the duplicate.

Cost. Two system calls, one such wait at the start if there are threads already, and 8 bytes of the
system's memory for each number.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final

MOST: Final = 16384
"""Descriptors to make room for at the most: 128 KiB of the system's memory."""


class DescriptorTable:
    """Which process has grown its table; a forked child gets a small one."""

    process: int = 0


def grow_descriptor_table(fd: int) -> None:
    """Make room for many descriptors, once in a process.

    Args:
        fd: an open descriptor, which is duplicated for a moment.
    """
    if sys.platform == "linux" and DescriptorTable.process != os.getpid():
        import fcntl
        import resource

        DescriptorTable.process = os.getpid()
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        last = MOST - 1 if limit == resource.RLIM_INFINITY else min(limit, MOST) - 1
        with suppress(OSError):  # the numbers up to the limit are taken: the table is large already
            os.close(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, last))
