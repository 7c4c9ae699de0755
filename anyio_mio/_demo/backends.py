"""The backends that can be compared here, by the names the demonstration gives them."""

import importlib.util
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
"""mio with a spin of 20 µs before each sleep. Compared only where it is asked for."""


def installed() -> list[str]:
    """The names of the backends that can run here, ours first."""
    return [name for name, module in REQUIRED_MODULE.items() if importlib.util.find_spec(module)]


def known() -> list[str]:
    """The names that may be asked for."""
    return [*installed(), MIO_BUSY]


def run_arguments(name: str) -> dict[str, Any]:
    """The keyword arguments with which `anyio.run` uses this backend."""
    if name == "uvloop":
        return {"backend": "asyncio", "backend_options": {"use_uvloop": True}}
    if name == "asyncio":
        return {"backend": "asyncio", "backend_options": {"use_uvloop": False}}
    if name == MIO_BUSY:
        return {"backend": MIO, "backend_options": {"busy_poll": 20e-6}}
    return {"backend": name}
