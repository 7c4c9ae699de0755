"""Serving: accept whatever has come, start a handler for each, and survive running out.

The acceptor is the one of all of mio (`anyio_mio._net.acceptor`): it accepts until accepting would
block or the batch is spent, knows what each error of ``accept()`` means, and waits while there is
no descriptor left. No await lies between accepting a connection and handing it to its handler.

The signatures are Trio's, with keywords behind them:

* ``max_connections``, the most that are open at once in this call. A permit is taken before each
  accept, so what exceeds the limit stays in the system's queue.
* ``accept_batch``, the most connections that are accepted before the other tasks get their turn; 1
  where several processes share a socket.
* ``on_accept_error(error, kind)``, which may return another `AcceptErrorKind`.

A server stops when it is cancelled, and its handlers with it. To let them finish, give them a
nursery of their own, as with Trio:

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
        backlog: connections that may wait for being accepted; None for the system's most.
        handler_nursery: where the handlers' tasks go; None for a nursery of the call's own.
        task_status: with ``nursery.start(...)``, its value are the listeners.
        **limits: ``max_connections``, ``accept_batch`` and ``on_accept_error``; see the module.

    Raises:
        TypeError: there is no such limit, or an argument is of the wrong type.
        ValueError: a limit is below 1.
        OSError: an address could not be bound, or accepting failed for good.

    It returns only when it is cancelled. An error of a handler is not caught.
    """
    loop = AcceptLoop(handler, limits)  # before there is a listener that an error would leak
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
        backlog: connections that may wait for being accepted; None for the system's most.
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
        listeners: closed at the end. Those that are not `SocketListener` (`trio.SSLListener` around
            one, say) are served by `trio.serve_listeners()`.
        handler_nursery: as for `serve_tcp()`.
        task_status: with ``nursery.start(...)``, its value are the listeners.
        **limits: as for `serve_tcp()`. They concern `SocketListener` only.

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
    """Return the name of a handler's task, made once and not for each connection."""
    function = getattr(handler, "func", handler)  # a partial's
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(function)
