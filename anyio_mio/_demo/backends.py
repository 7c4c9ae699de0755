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


def installed() -> list[str]:
    """The names of the backends that can run here, ours first."""
    return [name for name, module in REQUIRED_MODULE.items() if importlib.util.find_spec(module)]


def run_arguments(name: str) -> dict[str, Any]:
    """The keyword arguments with which `anyio.run` uses this backend."""
    if name == "uvloop":
        return {"backend": "asyncio", "backend_options": {"use_uvloop": True}}
    if name == "asyncio":
        return {"backend": "asyncio", "backend_options": {"use_uvloop": False}}
    return {"backend": name}
