"""anyio_mio: an AnyIO backend in pure Python on a poller with the rules of Rust's Mio.

Importing it registers the backend::

    import anyio
    import anyio_mio

    anyio.run(main, backend="mio")  # or: anyio_mio.run(main)
"""

from __future__ import annotations

import sys

# `python -m anyio_mio` imports this before __main__; sys.argv[0] is "-m" until __main__ is found.
if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] == __name__:
    from anyio_mio_command import end_at_interrupt as _end_at_interrupt

    _end_at_interrupt()

import os
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, TypeVar, TypeVarTuple, Unpack

from anyio_mio._backend.detection import beside as _beside
from anyio_mio._backend.options import RunOptions as RunOptions
from anyio_mio._backend.registration import register as _register
from anyio_mio.serving import serve_listeners, serve_tcp, serve_unix

__all__ = ["RunOptions", "run", "serve_listeners", "serve_tcp", "serve_unix"]

__version__: str

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_register()
_beside["asyncio"] = "anyio_mio.asyncio"
if "ANYIO_MIO_CONSOLE" in os.environ:  # a program that is not asked to does not load the console
    from anyio_mio.console import observe_runs as _observe_runs

    _observe_runs(os.environ["ANYIO_MIO_CONSOLE"])


def run(
    func: Callable[[*_Ts], Awaitable[_T]],
    *args: *_Ts,
    **options: Unpack[RunOptions],
) -> _T:
    """Run an async function on mio: ``anyio.run(func, *args, backend="mio")``.

    Args:
        func: an async function.
        *args: what it is called with; use `functools.partial` for keywords.
        **options: see `RunOptions`.

    Returns:
        What the function returned; its exception passes through as it is.

    Raises:
        RuntimeError: an event loop runs in this thread already.
        TypeError: ``func`` is not an async function, or an option is unknown.
    """
    import anyio

    return anyio.run(func, *args, backend="mio", backend_options=dict(options))


def __getattr__(name: str) -> Any:
    """Import what is loaded at its first use only: asyncio's room, and the version."""
    if name == "asyncio":
        return import_module("anyio_mio.asyncio")
    if name == "__version__":
        return import_module("importlib.metadata").version("anyio-mio")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
