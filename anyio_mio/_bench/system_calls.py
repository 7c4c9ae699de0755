"""Counting the system calls of a running process with strace.

strace stops a process at each call, so do not measure time while it counts. The slower server
finds more events at each wait, so it makes fewer waits than usual. The other counts are exact, and
include cheap calls such as getpid.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from anyio_mio._bench.protocol import MeasurementError

ATTACH_LIMIT: Final = 5.0  # seconds
REFUSED: Final = "Operation not permitted"
LINE: Final = re.compile(r"^\s*(\d+)\s+(\w+)$", re.MULTILINE)

PR_SET_PTRACER: Final = 0x59616D61
ANYBODY: Final = -1


def allow_tracing() -> None:
    """Let strace attach to this process; Linux' Yama allows that to parents only."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(ANYBODY), 0, 0, 0)


def can_count() -> bool:
    """Return whether strace is installed; the system may still not allow it to trace."""
    return shutil.which("strace") is not None


@contextmanager
def counting(pid: int) -> Iterator[Callable[[], dict[str, int]]]:
    """Count what a process and its threads call until the returned function is called.

    Yields:
        A function that ends the counting and returns the calls by name; empty if strace may not
        trace the process.

    Raises:
        MeasurementError: strace failed for another reason: the process is gone, for instance.
    """
    with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
        command = ["strace", "-f", "-c", "-U", "calls,name", "-o", output.name, "-p", str(pid)]
        with open(errors.name, "w") as log:
            strace = subprocess.Popen(command, stderr=log)

        def finish() -> dict[str, int]:
            strace.terminate()
            strace.wait(ATTACH_LIMIT)
            found = LINE.findall(Path(output.name).read_text())
            return {name: int(calls) for calls, name in found if name != "total"}

        try:
            wait_until_attached(strace, Path(errors.name))
            yield finish
        finally:
            strace.kill()
            strace.wait()


def wait_until_attached(strace: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for strace to say that it has the process, or that it may not have it."""
    deadline = time.monotonic() + ATTACH_LIMIT
    while "attached" not in log.read_text() and time.monotonic() < deadline:
        if strace.poll() is not None and REFUSED in log.read_text():
            return
        if strace.poll() is not None:
            raise MeasurementError(f"strace could not count: {log.read_text().strip()}")
        time.sleep(0.01)
