"""Starting a run with an async function and its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from anyio_mio._backend import compat
from anyio_mio._backend.anyio_internals import get_callable_name
from anyio_mio._backend.detection import forget_name
from anyio_mio._backend.options import make_kernel
from anyio_mio._kernel import run as kernel_run
from anyio_mio._kernel.interrupts import door
from anyio_mio._kernel.running import running

T = TypeVar("T")


def run(
    func: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
) -> T:
    """Run ``await func(*args, **kwargs)`` on a new kernel.

    Raises:
        RuntimeError: mio runs in this thread already.
        TypeError: ``func`` is a coroutine, or what it returned cannot be awaited.
    """
    if running.kernel is not None:
        raise RuntimeError("Already running mio in this thread")
    if inspect.iscoroutine(func):
        func.close()
        raise TypeError(
            "run() takes an async function, not a coroutine.\n"
            f"  wrong: anyio_mio.run({func.__name__}())\n"
            f"  right: anyio_mio.run({func.__name__})"
        )
    compat.install()
    forget_name()
    kernel = make_kernel(options)
    return kernel_run.run(kernel, main(func, args, kwargs), get_callable_name(func))


@door
async def main(
    func: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> T:
    """Call ``func`` inside the run and await what it returns."""
    awaitable = func(*args, **kwargs)
    if not inspect.isawaitable(awaitable):
        name = get_callable_name(func)
        raise TypeError(
            f"run() takes an async function, but {name}() returned {awaitable!r}.\n"
            "  wrong: def main(): ...\n"
            "  right: async def main(): ..."
        )
    return await awaitable
