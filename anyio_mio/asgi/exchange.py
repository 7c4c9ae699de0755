"""One request and its answer: the ``receive()`` and ``send()`` that an application gets.

They belong to this request alone. If an application keeps them and calls them later, they have no
effect on another request of the connection.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, final

import anyio
import anyio.lowlevel

from anyio_mio.asgi.bridge import ASYNCIO, LIBRARY, call_in_task
from anyio_mio.asgi.response import DONE, NEW, Link, Response

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Source(Link, Protocol):
    """What an exchange needs of its connection besides."""

    @property
    def is_gone(self) -> bool:
        """Whether nothing more can come from the client."""

    @property
    def fault(self) -> int:
        """The status for what the client has sent and cannot be parsed; or 0."""

    @property
    def has_next(self) -> bool:
        """Whether the client has sent its next request already."""

    async def read(self) -> None:
        """Take one piece from the client, or note that it is gone."""

    async def read_body(self) -> None:
        """Read as `read()` does, within the time limit for the next piece of a body."""


@final
class Exchange(Response):
    """A request, as far as it has come, and its answer.

    Attributes:
        url: the target in the request line; ``path`` and ``query`` are its parts.
        headers: as the application gets them.
        forwarded: the fields that a trusted proxy has added.
        chunks: pieces of the body that have come and that the application has not taken.
        is_complete: whether the whole request has come.
        wants_websocket: whether the client asks for the WebSocket protocol.
        size: bytes of the body that have come; ``awaited`` those that its length still promises.
    """

    __slots__ = (
        "_body_taken",
        "_changed",
        "_source",
        "awaited",
        "chunks",
        "forwarded",
        "headers",
        "is_complete",
        "path",
        "query",
        "size",
        "url",
        "wants_websocket",
    )

    def __init__(
        self,
        source: Source,
        method: str,
        version: str,
        keeps_alive: bool,
        url: bytes,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self.link = self._source = source
        self.method = method
        self.version = version
        self.keeps_alive = keeps_alive
        self.expects = self.takes_trailers = self._with_trailers = self._is_special = False
        self.state = NEW
        self.status = self.sent = 0
        self.framing = self._length = self._reader = None
        self._held = b""
        self.url = url
        self.headers = headers
        self.path: bytes
        self.query: bytes
        self.chunks: list[bytes] | tuple[()] = ()
        self.size = self.awaited = 0
        self.forwarded: list[tuple[bytes, bytes]] | None = None
        self.is_complete = self.wants_websocket = self._body_taken = False
        self._changed: anyio.Event | None = None

    async def receive(self) -> dict[str, Any]:
        """Return the next event: the body piece by piece, then the disconnect."""
        source = self._source
        if source.site.run.asyncio is not None and LIBRARY.name == ASYNCIO:
            return await call_in_task(self.receive)
        while self.state < DONE:
            if not self._body_taken and (self.chunks or self.is_complete):
                chunks, self.chunks = self.chunks, ()
                body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                self._body_taken = is_last = self.is_complete
                return {"type": "http.request", "body": body, "more_body": not is_last}
            if source.is_gone or (source.fault and not self.is_complete):
                break
            if self.expects:
                self.expects = False
                await source.write(CONTINUE)
            await self._read()
        if source.fault and not self.is_complete:
            self.cut()
        await anyio.lowlevel.checkpoint()  # an application that asks again and again must not spin
        return {"type": "http.disconnect"}

    async def _read(self) -> None:
        """Read once; if another task of the application is reading, wait until it has read."""
        if self._reader is not None:
            self._changed = self._changed or anyio.Event()
            await self._changed.wait()
            return
        try:
            with anyio.CancelScope() as self._reader:
                if not self.is_complete:
                    await self._source.read_body()
                elif self._source.has_next:  # to read on would only fill the memory
                    await anyio.sleep_forever()
                else:
                    await self._source.read()
        finally:
            self._reader = None
            if self._changed is not None:
                self._changed.set()
                self._changed = None
