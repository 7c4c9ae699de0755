"""The backends that can be compared here, by the names that the commands give them."""

import importlib.util
from argparse import ArgumentTypeError
from typing import Any, Final

MIO: Final = "mio"

# Each name, what must be installed for it, and how `anyio.run` is told to use it. uvloop is no
# backend of its own for AnyIO but an option of asyncio's.
REQUIRED_MODULE: Final = {
    MIO: "anyio_mio",
    "uvloop": "uvloop",
    "trio": "trio",
    "asyncio": "asyncio",
}

MIO_BUSY: Final = "mio-busy"
"""mio with a spin of 20 µs before each sleep."""

TRIO_PROGRAMS: Final = ("trio-native", "trio-hosted")
"""A Trio program, on Trio's own sockets and on those of `anyio_mio.trio`: no backends of AnyIO."""


def installed() -> list[str]:
    """Return the names of the backends that can run here, ours first."""
    return [name for name, module in REQUIRED_MODULE.items() if importlib.util.find_spec(module)]


def variants() -> list[str]:
    """Return names that are compared only where they are asked for."""
    return [MIO_BUSY, *(TRIO_PROGRAMS if "trio" in installed() else ())]


def runnable_names(text: str) -> list[str]:
    """Return the names in a list with commas, for an option of `argparse`."""
    names = text.split(",")
    for name in names:
        if name not in installed():
            right = ",".join(installed())
            raise ArgumentTypeError(f"{name!r} is no backend that can run here; right: {right}")
    return names


def run_arguments(name: str) -> dict[str, Any]:
    """Return the keyword arguments with which `anyio.run` uses this backend."""
    if name == "uvloop":
        return {"backend": "asyncio", "backend_options": {"use_uvloop": True}}
    if name == "asyncio":
        return {"backend": "asyncio", "backend_options": {"use_uvloop": False}}
    if name in TRIO_PROGRAMS:
        raise LookupError(f"{name} is a program of its own: it has rows of TCP connections only")
    if name == MIO_BUSY:
        return {"backend": MIO, "backend_options": {"busy_poll": 20e-6}}
    return {"backend": name}
