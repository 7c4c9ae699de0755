"""What a process uses and may use: descriptors, memory, processor time."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

STATM = Path("/proc/self/statm")


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
    """How much of this process is in memory now; its peak where that cannot be known."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def used() -> dict[str, float]:
    """Processor time and memory of this process."""
    return {"cpu_seconds": time.process_time(), "resident_bytes": resident_bytes()}
