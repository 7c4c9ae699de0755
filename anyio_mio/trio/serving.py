"""Serving: accept whatever has come, start a handler for each, and survive running out.

After an event the loop accepts until accepting would block, or until `ACCEPT_BATCH` connections
have come; a spent batch goes on without a new event, after the others had their turn. No await lies
between accepting a connection and handing it to its handler, so a cancelled loop loses none.

Running out of descriptors or memory is no reason to stop. The connections that wait make no further
event, so the loop keeps its readiness and comes back by itself: after 5 ms, then twice as long each
time, up to a second. It tells the logger at the first time, and then every half minute.
"""

from __future__ import annotations

import errno
import logging
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar, final

import trio

from anyio_mio.trio.listeners import SocketListener
from anyio_mio.trio.opening import open_tcp_listeners, open_unix_listener
from anyio_mio.trio.streams import SocketStream

Handler: TypeAlias = Callable[[SocketStream], Awaitable[object]]
ListenerT = TypeVar("ListenerT", bound=trio.abc.Listener[Any])

ACCEPT_BATCH: Final = 64
OUT_OF_SOMETHING: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 1.0
SECONDS_BETWEEN_LINES: Final = 30.0

LOGGER: Final = logging.getLogger("anyio_mio.trio.serving")


async def serve_tcp(
    handler: Handler,
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen for TCP connections and run ``handler(stream)`` for each; `trio.serve_tcp()`.

    Args:
        handler: called with each stream, in a task of its own; the stream is closed after it.
        port: the port; 0 lets the system choose.
        host: a name or an address; None for all interfaces.
        backlog: connections that may wait for being accepted; None for the system's most.
        handler_nursery: where the handlers' tasks go; None for a nursery of the call's own.
        task_status: with ``nursery.start(...)``, its value are the listeners.

    Raises:
        OSError: an address could not be bound, or accepting failed for good.

    It returns only when it is cancelled. An error of a handler is not caught.
    """
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog)
    await serve_listeners(
        handler, listeners, handler_nursery=handler_nursery, task_status=task_status
    )


async def serve_unix(
    handler: Handler,
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    backlog: int | None = None,
    mode: int | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on a UNIX socket and run ``handler(stream)`` for each connection.

    Args:
        handler: as for `serve_tcp()`.
        path: where to make the socket. It must not exist, and stays when the listener is closed.
        backlog: connections that may wait for being accepted; None for the system's most.
        mode: the file's permissions; None leaves them to the umask.
        handler_nursery: as for `serve_tcp()`.
        task_status: as for `serve_tcp()`.

    Raises:
        OSError: the socket could not be made, or accepting failed for good.
    """
    listeners = [await open_unix_listener(path, backlog=backlog, mode=mode)]
    await serve_listeners(
        handler, listeners, handler_nursery=handler_nursery, task_status=task_status
    )


async def serve_listeners(
    handler: Callable[[Any], Awaitable[object]],
    listeners: list[ListenerT],
    *,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[ListenerT]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run ``handler(stream)`` for each connection of some listeners; `trio.serve_listeners()`.

    Args:
        handler: as for `serve_tcp()`.
        listeners: closed at the end. Those that are not `SocketListener` (`trio.SSLListener` around
            one, say) are served by `trio.serve_listeners()`.
        handler_nursery: as for `serve_tcp()`.
        task_status: with ``nursery.start(...)``, its value are the listeners.

    Raises:
        OSError: accepting failed for good.
    """
    ours = [listener for listener in listeners if isinstance(listener, SocketListener)]
    others = [listener for listener in listeners if not isinstance(listener, SocketListener)]
    async with trio.open_nursery() as nursery:
        where = handler_nursery if handler_nursery is not None else nursery
        for listener in ours:
            nursery.start_soon(AcceptLoop(listener, handler, where).run)
        if others:
            nursery.start_soon(_serve_others, handler, others, where)
        task_status.started(listeners)


async def _serve_others(
    handler: Handler, listeners: Sequence[trio.abc.Listener[Any]], nursery: trio.Nursery
) -> None:
    await trio.serve_listeners(handler, list(listeners), handler_nursery=nursery)


@final
class AcceptLoop:
    """Serves one listener."""

    def __init__(self, listener: SocketListener, handler: Handler, nursery: trio.Nursery) -> None:
        self._listener = listener
        self._handler = handler
        self._nursery = nursery
        self._name = trio_name(handler)
        self._pause = FIRST_PAUSE
        self._silent_until = -float("inf")

    async def run(self) -> None:
        """Accept until cancelled, or until an error that concerns more than one connection."""
        async with self._listener:
            while True:
                await self._listener._wait_until_ready()
                await self._accept_or_back_off()

    async def _accept_or_back_off(self) -> None:
        try:
            self._accept_batch()
        except OSError as exc:
            if exc.errno not in OUT_OF_SOMETHING:
                raise
            await self._back_off(exc)

    def _accept_batch(self) -> None:
        for _ in range(ACCEPT_BATCH):
            stream = self._listener._accept_nowait()
            if stream is None:
                return
            self._pause = FIRST_PAUSE
            stream._hand_to_handler()
            self._nursery.start_soon(self._handle, stream, name=self._name)

    async def _handle(self, stream: SocketStream) -> None:
        try:
            await self._handler(stream)
        finally:
            stream._close()

    async def _back_off(self, error: OSError) -> None:
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        now = trio.current_time()
        if now >= self._silent_until:
            self._silent_until = now + SECONDS_BETWEEN_LINES
            LOGGER.error("cannot accept on %r, and keep trying: %s", self._listener, error)
        await trio.sleep(pause * random.uniform(0.8, 1.2))


def trio_name(handler: object) -> str:
    """The name of a handler's task, made once and not for each connection."""
    function = getattr(handler, "func", handler)  # a partial's
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(function)
