"""Calls from tasks of asyncio, which an application for asyncio may create.

Quart, Django and a2wsgi call ``receive()`` and ``send()`` in tasks of asyncio. There AnyIO's
functions cannot wait on mio, so such a call runs in a task of mio.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from sniffio import thread_local

T = TypeVar("T")

LIBRARY: Final = thread_local
"""Its ``name`` is that of the library whose task runs in this thread (sniffio)."""

ASYNCIO: Final = "asyncio"


async def call_in_task(func: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async function in a task of mio, for a task of asyncio."""
    from anyio_mio.asyncio import run_in_task  # only here, where asyncio is in use

    return await run_in_task(func, *args)
