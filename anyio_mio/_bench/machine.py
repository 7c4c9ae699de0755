"""The machine on which figures were measured."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("anyio-mio", "anyio", "trio", "uvloop")


def facts() -> dict[str, Any]:
    """Return the machine, its software, and its load now."""
    return {
        "processor": processor_name(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {name: found for name in PACKAGES if (found := installed_version(name))},
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def processor_name() -> str:
    """Return the processor's name, as the system gives it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or sys.platform


def installed_version(name: str) -> str | None:
    """Return its version, if it is installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def in_words(known: dict[str, Any]) -> list[str]:
    """Return the facts in a few lines."""
    versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
    lines = [
        f"{known['processor']}, {known['processors']} processors, {known['system']}",
        ", ".join(part for part in (known["python"], versions) if part),
    ]
    if (known["load_average"] or 0) > 0.5:
        lines.append(
            f"The machine is busy (load average {known['load_average']}): trust the counts, and"
            " the times only where their spread is small."
        )
    return lines
