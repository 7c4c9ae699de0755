"""Registration with AnyIO: one entry in its table of loaded backends."""

from __future__ import annotations

from typing import Final

from anyio_mio._backend.anyio_internals import put_into_table
from anyio_mio._backend.backend import MioBackend

TESTED: Final[tuple[tuple[int, int], tuple[int, int]]] = ((4, 14), (4, 16))
"""The first and the last minor version of AnyIO that this version of mio is tested with."""


def register() -> None:
    """Make ``anyio.run(..., backend="mio")`` work; calling it again does nothing.

    AnyIO's backend interface is not public and grows in minor releases. A method that is missing
    would silently return None, since backends are never instantiated; so it is refused here.

    Raises:
        ImportError: this AnyIO has abstract methods that this version of mio does not know.
    """
    missing = sorted(getattr(MioBackend, "__abstractmethods__", ()))
    if missing:
        from importlib.metadata import version

        first, last = (".".join(map(str, each)) for each in TESTED)
        raise ImportError(
            f"anyio {version('anyio')} asks its backends for {', '.join(missing)}, which this "
            f"anyio_mio does not have. It is tested with anyio {first} to {last}.\n"
            f"  right: pip install --upgrade anyio-mio, or pip install 'anyio=={last}.*'"
        )
    put_into_table("mio", MioBackend)
