"""anyio_mio: an AnyIO backend in pure Python on a poller with the rules of Rust's Mio.

Importing it registers the backend::

    import anyio
    import anyio_mio

    anyio.run(main, backend="mio")  # or: anyio_mio.run(main)
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, TypeVar

from anyio_mio._backend.registration import register as _register
from anyio_mio.serving import serve_listeners, serve_tcp, serve_unix

__all__ = ["run", "serve_listeners", "serve_tcp", "serve_unix"]

T = TypeVar("T")

_register()
if "ANYIO_MIO_CONSOLE" in os.environ:  # a program that is not asked to does not load the console
    from anyio_mio.console import observe_runs as _observe_runs

    _observe_runs(os.environ["ANYIO_MIO_CONSOLE"])


def run(func: Callable[..., Awaitable[T]], *args: Any, **backend_options: Any) -> T:
    """Run an async function on mio: ``anyio.run(func, *args, backend="mio")``.

    Args:
        func: an async function.
        *args: what it is called with.
        **backend_options: ``busy_poll``, ``checkpoints``, ``clock``, ``instruments``,
            ``selector``, ``shuffle``.

    Returns:
        What the function returned; its exception passes through as it is.

    Raises:
        RuntimeError: an event loop runs in this thread already.
        TypeError: ``func`` is not an async function, or an option is unknown.
    """
    import anyio

    return anyio.run(func, *args, backend="mio", backend_options=backend_options)


def __getattr__(name: str) -> Any:
    """Import ``anyio_mio.asyncio`` when a program asks for it: it takes asyncio along."""
    if name == "asyncio":
        return import_module("anyio_mio.asyncio")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
