"""Work in the background: an application that goes on after its answer.

Starlette runs background tasks within the call of the application. The connection's own task makes
that call, which makes a request cheap (H1). While the call lasts, that task cannot read the next
request of the client, or of the proxy that uses the connection for several clients.

So the server looks at the connections that were answered a moment ago. If the application has not
returned there, a new task, the successor, continues with the connection. The first task waits for
its successors, because the stream is closed when it ends. An ordinary request costs an entry in a
set, and a request with background work costs a task.
"""

from __future__ import annotations

from typing import Final, Protocol, final

import anyio
from anyio.abc import ByteStream

from anyio_mio.asgi.exchange import Exchange

MOMENT: Final = 0.01
"""Seconds between two looks. Most applications return at once; those with middleware in tasks of
its own need a few steps."""


class Conversing(Protocol):
    """A connection."""

    conversations: int
    stream: ByteStream

    async def converse(self, answered: Exchange | None = None) -> None:
        """Answer requests until the connection has to be closed."""


@final
class Successors:
    """The tasks that have taken one connection over, one after the other."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()
        self._ended = anyio.Event()
        self._error: Exception | None = None

    def add(self) -> anyio.CancelScope:
        """Return the scope for one more task."""
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        return scope

    async def converse(
        self, scope: anyio.CancelScope, connection: Conversing, answered: Exchange
    ) -> None:
        """Go on with a connection; close it, unless another task has taken it over in turn."""
        number = connection.conversations
        try:
            with scope:
                await connection.converse(answered)
                if number == connection.conversations:
                    await connection.stream.aclose()
        except Exception as error:  # noqa: BLE001 - `wait()` raises it, in the first task
            self._error = error
        finally:
            self._scopes.discard(scope)
            self._ended.set()

    async def wait(self) -> None:
        """Wait until all of them have ended; raise what one of them has raised."""
        await self._until_all_have_ended()
        if self._error is not None:
            raise self._error

    async def end(self) -> None:
        """Cancel them, and wait until they have ended."""
        for scope in self._scopes:
            scope.cancel("the connection ends")
        with anyio.CancelScope(shield=True):
            await self._until_all_have_ended()

    async def _until_all_have_ended(self) -> None:
        while self._scopes:
            self._ended = anyio.Event()
            await self._ended.wait()
