"""The resources of a process: processors, descriptors, memory.

The server and the load run on different processors, if the system can pin processes. If the
scheduler moves two busy processes about, figures differ more from run to run than from backend to
backend.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

STATM = Path("/proc/self/statm")


def processor_pair() -> tuple[int | None, int | None]:
    """Return one processor for the server and one for the load; none if there are not two."""
    available = usable_processors()
    return (available[0], available[1]) if len(available) >= 2 else (None, None)


def third_processor() -> int | None:
    """Return the processor for a third process; the load's where there are only two."""
    available = usable_processors()
    return available[1:3][-1] if len(available) >= 2 else None


def usable_processors() -> list[int]:
    """Return the processors that this process may be placed on; none where it cannot be placed."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return []


def stay_on(processor: int | None) -> None:
    """Keep this process on one processor."""
    if sys.platform == "linux" and processor is not None:
        os.sched_setaffinity(0, {processor})


def go_first() -> None:
    """Run as soon as there is something to do, before ordinary processes, if that is allowed."""
    if sys.platform == "linux":
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as it may have; its children inherit that.

    Returns:
        How many that are.
    """
    if sys.platform == "win32":
        return 512
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else 1 << 20


def resident_bytes() -> int:
    """Return the memory of this process in bytes; its peak where the system tells only that."""
    if sys.platform == "win32":
        return 0
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def sleeps() -> int:
    """Return how often this process has slept: its voluntary context switches."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def used() -> dict[str, float]:
    """Return processor time, memory and sleeps of this process."""
    return {
        "cpu_seconds": time.process_time(),
        "resident_bytes": resident_bytes(),
        "sleeps": sleeps(),
    }


def family_of(place: int | str) -> socket.AddressFamily:
    """Return the family of a place: a port of the loopback, or the path of a UNIX socket.

    Raises:
        OSError: it is a path, on a platform without UNIX sockets.
    """
    if isinstance(place, int):
        return socket.AF_INET
    if sys.platform == "win32":
        raise OSError("this platform has no UNIX sockets\n  right: measure over TCP")
    return socket.AF_UNIX
