"""Serve connections: accept them, start a handler for each, and survive a lack of descriptors.

The acceptor is mio's (`anyio_mio._net.acceptor`). It accepts until ``accept()`` would block or the
batch is full, classifies each error of ``accept()``, and waits while no descriptor is left. No
await stands between accepting a connection and starting its handler.

The signatures are Trio's, with three more keywords:

* ``max_connections``, the most connections that this call has open at once. The loop takes a permit
  before each accept, so more connections wait in the system's queue.
* ``accept_batch``, the most connections to accept before the other tasks run; 1 if several
  processes share a socket.
* ``on_accept_error(error, kind)``, which may return another `AcceptErrorKind`.

Cancel a server to stop it. This cancels its handlers too; to let them finish, give them their own
nursery, as with Trio:

    async with trio.open_nursery() as handlers:
        with trio.CancelScope() as server:          # server.cancel() stops accepting
            await serve_tcp(handler, 8000, handler_nursery=handlers)
        handlers.cancel_scope.deadline = trio.current_time() + 10    # seconds of grace
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, final

import trio

from anyio_mio._net.acceptor import ACCEPT_BATCH, ErrorHook
from anyio_mio._net.arguments import check_count, check_handler, check_hook, check_names
from anyio_mio.trio.listeners import SocketListener
from anyio_mio.trio.opening import open_tcp_listeners, open_unix_listener
from anyio_mio.trio.streams import SocketStream

Handler: TypeAlias = Callable[[SocketStream], Awaitable[object]]
ListenerT = TypeVar("ListenerT", bound=trio.abc.Listener[Any])


class Limits(TypedDict, total=False):
    """The keywords that Trio does not have; see the module."""

    max_connections: int | None
    accept_batch: int
    on_accept_error: ErrorHook | None


async def serve_tcp(
    handler: Handler,
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[SocketListener]] = trio.TASK_STATUS_IGNORED,
    **limits: Unpack[Limits],
) -> None:
    """Listen for TCP connections and run ``handler(stream)`` for each; `trio.serve_tcp()`.

    Args:
        handler: called with each stream, in a task of its own; the stream is closed after it.
        port: the port; 0 lets the system choose.
        host: a name or an address; None for all interfaces.
        backlog: how many connections may wait in the system's queue; None for the most.
        handler_nursery: the nursery for the handlers' tasks; None for one of this call.
        task_status: ``nursery.start(...)`` returns the listeners.
        **limits: ``max_connections``, ``accept_batch`` and ``on_accept_error``; see the module.

    Raises:
        TypeError: there is no such limit, or an argument is of the wrong type.
        ValueError: a limit is below 1.
        OSError: an address could not be bound, or accepting failed for good.

    It returns only when it is cancelled. It does not catch errors of a handler.
    """
    loop = AcceptLoop(handler, limits)  # first, so that an error leaves no listener open
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog)
    await loop.serve(listeners, handler_nursery, task_status)


async def serve_unix(
    handler: Handler,
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    backlog: int | None = None,
    mode: int | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[SocketListener]] = trio.TASK_STATUS_IGNORED,
    **limits: Unpack[Limits],
) -> None:
    """Listen on a UNIX socket and run ``handler(stream)`` for each connection.

    Args:
        handler: as for `serve_tcp()`.
        path: where to make the socket, as for `open_unix_listener()`.
        backlog: how many connections may wait in the system's queue; None for the most.
        mode: the file's permissions; None leaves them to the umask.
        handler_nursery: as for `serve_tcp()`.
        task_status: as for `serve_tcp()`.
        **limits: as for `serve_tcp()`.

    Raises:
        OSError: the socket could not be made, or accepting failed for good.
    """
    loop = AcceptLoop(handler, limits)
    listeners = [await open_unix_listener(path, backlog=backlog, mode=mode)]
    await loop.serve(listeners, handler_nursery, task_status)


async def serve_listeners(
    handler: Callable[[Any], Awaitable[object]],
    listeners: list[ListenerT],
    *,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[ListenerT]] = trio.TASK_STATUS_IGNORED,
    **limits: Unpack[Limits],
) -> None:
    """Run ``handler(stream)`` for each connection of some listeners; `trio.serve_listeners()`.

    Args:
        handler: as for `serve_tcp()`.
        listeners: the listeners; it closes them at the end. It passes listeners of other classes
            than `SocketListener`, such as `trio.SSLListener`, to `trio.serve_listeners()`.
        handler_nursery: as for `serve_tcp()`.
        task_status: ``nursery.start(...)`` returns the listeners.
        **limits: as for `serve_tcp()`; for listeners of the class `SocketListener` only.

    Raises:
        OSError: accepting failed for good.
    """
    await AcceptLoop(handler, limits).serve(listeners, handler_nursery, task_status)


@final
class AcceptLoop:
    """One call of `serve_listeners()`."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        check_handler(handler)
        check_names(limits, Limits.__annotations__)
        self._handler = handler
        self._name = trio_name(handler)
        self._batch = limits.get("accept_batch", ACCEPT_BATCH)
        self._on_error = limits.get("on_accept_error")
        most = limits.get("max_connections")
        check_count("accept_batch", self._batch)
        check_count("max_connections", most)
        check_hook(self._on_error)
        self._permits = None if most is None else trio.Semaphore(most)

    async def serve(
        self,
        listeners: list[Any],
        handler_nursery: trio.Nursery | None,
        task_status: trio.TaskStatus[list[Any]],
    ) -> None:
        """Serve listeners until cancelled; see `serve_listeners()`."""
        others = [listener for listener in listeners if not isinstance(listener, SocketListener)]
        async with trio.open_nursery() as nursery:
            where = handler_nursery if handler_nursery is not None else nursery
            for listener in listeners:
                if isinstance(listener, SocketListener):
                    nursery.start_soon(self._accept_from, listener, where)
            if others:
                nursery.start_soon(self._serve_others, others, where)
            task_status.started(listeners)

    async def _serve_others(
        self, listeners: Sequence[trio.abc.Listener[Any]], nursery: trio.Nursery
    ) -> None:
        await trio.serve_listeners(self._handler, list(listeners), handler_nursery=nursery)

    async def _accept_from(self, listener: SocketListener, nursery: trio.Nursery) -> None:
        """Accept until cancelled, or until an error that concerns more than one connection."""

        def hand_over(stream: Any) -> None:
            stream._hand_to_handler()
            nursery.start_soon(self._handle, stream, name=self._name)

        acceptor, batch, permits = listener._acceptor, self._batch, self._permits
        async with listener:
            while True:
                await acceptor.wait_until_ready()
                if permits is None:
                    acceptor.drain(hand_over, batch, self._on_error)
                else:
                    await permits.acquire()
                    acceptor.drain_within_permits(permits, hand_over, batch, self._on_error)

    async def _handle(self, stream: SocketStream) -> None:
        try:
            await self._handler(stream)
        finally:
            try:
                stream._close()
            finally:
                if self._permits is not None:
                    self._permits.release()


def trio_name(handler: object) -> str:
    """Return the name of a handler's tasks."""
    function = getattr(handler, "func", handler)  # a partial's
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(function)
