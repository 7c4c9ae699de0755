"""The answer to one request: what an application sends, checked and framed.

How a body is framed:

* An answer in one event gets its length.
* A stream without a length is chunked. To an HTTP/1.0 client it ends with the connection, which is
  reset where the answer is not whole.
* A stream with a length: the piece that completes it is held back until the application says that
  it was the last. So an answer that turns out to be too long never looks whole (H2).
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from anyio_mio.asgi.bridge import ASYNCIO, LIBRARY, call_in_task
from anyio_mio.asgi.client import GONE
from anyio_mio.asgi.errors import (
    ApplicationError,
    ClientDisconnected,
    describe,
    sent_by,
    unexpected,
)
from anyio_mio.asgi.files import FILE_SEND, PATH_SEND, FilePart, read_at
from anyio_mio.asgi.response_head import LENGTH, join_head, make_lines, parse_length
from anyio_mio.asgi.site import NEVER, Application, Site

NEW: Final = 0
STARTED: Final = 1
STREAMING: Final = 2
TRAILERS: Final = 3
DONE: Final = 4
CUT: Final = 5
"""States of an answer, in order: no event has come; the head has come and is not sent; a part is
sent; the body is sent and trailers are to come; all is sent. `CUT`: the request broke off, so the
application can send nothing more."""

NO_BODY: Final = 0
BY_LENGTH: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3
"""Ways to tell the client where the body ends."""

LARGEST_JOIN: Final = 65536
"""Bytes of a body that are copied behind the head, to save a system call."""

END_OF_HEAD: Final = b"\r\n\r\n"

CUT_SHORT: Final = "an earlier answer was cut short: a write was cancelled"

BODILESS: Final = frozenset({204, 205, 304})
WITHOUT_LENGTH: Final = frozenset({204, 205})

START: Final = "http.response.start"
BODY: Final = "http.response.body"
TRAILER_EVENT: Final = "http.response.trailers"


class Link(Protocol):
    """What an answer needs of its connection.

    Attributes:
        app: the application, for its name in messages.
        site: the server.
        stream: the connection itself.
        write_due: the tick at which the client has taken too long to read.
        is_broken: whether an earlier answer was cut short, so that nothing may follow it.
    """

    app: Application
    site: Site
    stream: ByteStream
    write_due: float
    is_broken: bool

    def gone(self) -> ClientDisconnected:
        """Note that the client is gone; the error that says so."""

    async def write(self, data: bytes) -> None:
        """Send to the client; ClientDisconnected if it is gone."""

    async def write_file(self, fd: int, offset: int, count: int) -> None:
        """Send a part of an open file; ClientDisconnected if the client is gone."""


class Response:
    """The answer so far; `Exchange` sets the attributes.

    Attributes:
        link: the connection.
        method: of the request; ``version`` likewise.
        keeps_alive: whether another request may follow on the connection.
        expects: whether the client waits for ``100 Continue`` before it sends its body.
        takes_trailers: whether the client said that it reads trailers.
        state: how far the answer is.
        status: the status code, once the head is there.
        framing: how the end of the body is told; None as long as nothing was sent.
        sent: bytes of the body so far.
    """

    __slots__ = (
        "_defaults",
        "_held",
        "_is_special",
        "_length",
        "_lines",
        "_reader",
        "_with_trailers",
        "expects",
        "framing",
        "keeps_alive",
        "link",
        "method",
        "sent",
        "state",
        "status",
        "takes_trailers",
        "version",
    )

    link: Link
    method: str
    version: str
    keeps_alive: bool
    expects: bool
    takes_trailers: bool
    state: int
    status: int
    framing: int | None
    sent: int
    _lines: list[bytes]  # of the head
    _defaults: bytes
    _held: bytes
    _length: int | None
    _with_trailers: bool
    _is_special: bool  # whether no body is sent, or something behind it
    _reader: anyio.CancelScope | None  # where a ``receive()`` waits

    async def send(self, message: dict[str, Any]) -> None:  # noqa: C901, PLR0912, PLR0915 - hot
        """Send one event of the application.

        Raises:
            ClientDisconnected: the client is gone.
            ApplicationError: the event is out of order, or it is none.
        """
        link = self.link
        site = link.site
        if site.run.asyncio is not None and LIBRARY.name == ASYNCIO:  # the second takes 50 ns
            await call_in_task(self.send, message)
            return
        try:
            kind = message["type"]
        except (TypeError, KeyError):
            raise self._unexpected(message, "which is not an event") from None
        if kind == BODY:
            body = message.get("body", b"")
            if body.__class__ is not bytes:
                body = self._as_bytes(body)
            if (
                self.state == STARTED
                and not message.get("more_body")
                and len(body) <= LARGEST_JOIN
                and not self._is_special
            ):
                size = self.sent = len(body)
                if self._length != size:
                    self._check_length(size)
                self.state = STREAMING
                self.framing = BY_LENGTH
                is_plain = self.keeps_alive and self.version == "1.1"
                end = END_OF_HEAD if is_plain else self._end_with(b"")
                data = b"".join([*self._lines, self._defaults, end, body])
                if link.is_broken:
                    raise ClientDisconnected(CUT_SHORT)
                link.write_due = site.send_due
                try:
                    await link.stream.send(data)  # link.write() written out: a coroutine less
                except GONE as error:
                    raise link.gone() from error
                except BaseException:
                    link.is_broken = True
                    raise
                link.write_due = NEVER
                self.state = DONE  # _note_done() written out: a call less for each request
                if not site.answered:
                    site.has_answered.set()
                site.answered.add(link)
                if self._reader is not None:
                    await self.finish()
            else:
                await self._send_piece(message, body)
        elif kind == START:
            self._start(message)
        else:
            await self._send_other(kind, message)

    async def _send_other(self, kind: Any, message: dict[str, Any]) -> None:
        """Send an event that few answers have."""
        if kind in (PATH_SEND, FILE_SEND):
            await self._send_file(message)
        elif kind == TRAILER_EVENT:
            await self._send_trailers(message)
        else:
            raise self._unexpected(message, "which is not an event of HTTP")

    # The head.

    def _start(self, message: dict[str, Any]) -> None:  # noqa: C901 - hot: one frame
        """Check the head and keep it: it is sent with the first bytes of the body."""
        if self.state != NEW:
            raise self._unexpected(message, "a second time")
        if "status" not in message:
            raise self._unexpected(message, "without 'status'")
        status = message["status"]
        noted: list[tuple[bytes, bytes]] = []
        site = self.link.site
        self._defaults = site.default_fields
        try:
            self._lines = make_lines(status, message.get("headers", ()), noted)
            if len(noted) == 1 and noted[0][0] == LENGTH:
                self._length = parse_length(noted[0][1], None)
            elif noted:
                self._take(noted)
        except ApplicationError as error:
            raise sent_by(self.link.app, START, error) from None
        if self.expects or site.is_stopping:
            self.keeps_alive = False
        if self.takes_trailers and message.get("trailers"):
            self._with_trailers = True
        if self._with_trailers or self.method == "HEAD" or status in BODILESS:
            self._is_special = True
        self.status = status
        self.state = STARTED

    def _take(self, noted: list[tuple[bytes, bytes]]) -> None:
        """Apply the fields that frame the body or that have a default."""
        for name, value in noted:
            if name == b"content-length":
                if self._length is not None:  # the same once more, or it is an error
                    self._drop_length()
                    self._lines.append(b"\r\ncontent-length: " + value)
                self._length = parse_length(value, self._length)
            elif name == b"connection":
                self.keeps_alive = self.keeps_alive and b"close" not in value.lower()
            elif name in (b"date", b"server"):
                self._defaults = without(self._defaults, name)

    def _head_with(self, framing: bytes) -> bytes:
        """Return the whole head, with the fields that frame the body."""
        return b"".join((*self._lines, self._defaults, self._end_with(framing)))

    def _end_with(self, framing: bytes) -> bytes:
        """Return the end of the head: the fields that frame the body, and an empty line."""
        if not self.keeps_alive:
            framing += b"\r\nconnection: close"
        elif self.version == "1.0":
            framing += b"\r\nconnection: keep-alive"
        return framing + END_OF_HEAD

    def _drop_length(self) -> None:
        """Remove the application's content-length from the head, where it would be wrong."""
        if self._length is not None:
            self._lines = [without(b"".join(self._lines), LENGTH)]

    def _begin_stream(self) -> bytes:
        """Return the head of an answer whose body comes in pieces, and how its end will be told."""
        self.state = STREAMING
        if self.method == "HEAD" or self.status in BODILESS:
            self.framing = NO_BODY
            if self.status in WITHOUT_LENGTH:
                self._drop_length()
            return self._head_with(b"\r\ncontent-length: 0" if self.status == 205 else b"")
        if self._length is not None and not self._with_trailers:
            self.framing = BY_LENGTH
            return self._head_with(b"")
        self._drop_length()
        if self.version == "1.0":
            self.framing = UNTIL_CLOSE
            self.keeps_alive = False
            return self._head_with(b"")
        self.framing = CHUNKED
        return self._head_with(b"\r\ntransfer-encoding: chunked")

    # The body.

    async def _send_piece(self, message: dict[str, Any], body: bytes) -> None:
        """Send one of several events of a body, or one that `send()` does not handle itself."""
        is_last = not message.get("more_body")
        if is_last and self.state == STARTED and self._length is None and not self._is_special:
            self._set_length(len(body))
        data = self._require_body(message)
        self.sent += len(body)
        body = self._frame_piece(body, is_last=is_last)
        if data and len(body) > LARGEST_JOIN:
            await self.link.write(data)
            data = b""
        if data or body:
            await self.link.write(data + body)
        if is_last:
            await self._end_body()

    def _frame_piece(self, body: bytes, *, is_last: bool) -> bytes:
        """Return what is sent for a piece of the body."""
        if self.framing == BY_LENGTH:
            return self._within_length(body, is_last=is_last)
        if self.framing == NO_BODY:
            return b""
        if self.framing == CHUNKED:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if is_last and not self._with_trailers:
                body += b"0\r\n\r\n"
        return body

    def _require_body(self, message: dict[str, Any]) -> bytes:
        """Return what must be sent before a piece of the body: the head, the first time."""
        if self.state == STREAMING:
            return b""
        if self.state == STARTED:
            return self._begin_stream()
        if self.state == NEW:
            raise self._unexpected(message, f"before {START!r}")
        raise self._unexpected(message, "after the last piece of the body")

    def _within_length(self, body: bytes, *, is_last: bool) -> bytes:
        """Return what may be sent now of a body whose length was given; see the module."""
        assert self._length is not None
        if self.sent > self._length or (is_last and self.sent < self._length):
            raise self._wrong_length(self.sent)
        if self.sent == self._length and not is_last:
            self._held += body
            return b""
        return self._held + body

    async def _end_body(self) -> None:
        if self._with_trailers and self.framing == CHUNKED:
            self.state = TRAILERS
        else:
            self._note_done()
            await self.finish()

    def _note_done(self) -> None:
        """Note that the answer is complete: the next request must not wait for the application."""
        self.state = DONE
        link = self.link
        site = link.site
        answered = site.answered
        if not answered:
            site.has_answered.set()
        answered.add(link)

    def cut(self) -> None:
        """Note that the request cannot be completed; drop the application's later events."""
        self.state = CUT

    async def finish(self) -> None:
        """End a ``receive()`` that still waits: the connection reads the next request.

        Not a checkpoint where none waits.
        """
        while self._reader is not None:
            self._reader.cancel("the answer is complete")
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()

    # What the extensions add.

    async def _send_trailers(self, message: dict[str, Any]) -> None:
        """Send the last chunk and the fields behind it."""
        if self.state != TRAILERS:
            raise self._unexpected(message, "but announced no trailers")
        noted: list[tuple[bytes, bytes]] = []
        try:
            lines = join_head(200, message.get("headers", ()), noted)
        except ApplicationError as error:
            raise sent_by(self.link.app, TRAILER_EVENT, error) from None
        if noted:
            raise self._unexpected(message, f"with {noted[0][0]!r}, which is not a trailer field")
        fields = lines.partition(b"\r\n")[2]
        self._held += fields + b"\r\n" if fields else b""
        if not message.get("more_trailers"):
            await self.link.write(b"0\r\n" + self._held + b"\r\n")
            self._note_done()
            await self.finish()

    async def _send_file(self, message: dict[str, Any]) -> None:
        """Send a file, or a part of one, without copying it through the application."""
        if self.state not in (STARTED, STREAMING):
            raise self._unexpected(
                message, f"before {START!r}" if self.state == NEW else "too late"
            )
        try:
            part = FilePart.of_event(message)
        except ApplicationError as error:
            raise sent_by(self.link.app, message["type"], error) from None
        with part:
            if message["type"] == PATH_SEND:
                message = {**message, "more_body": False}
            if self.state == STARTED and self._length is None and not message.get("more_body"):
                self._set_length(part.count)
            await self._send_part(message, part)

    async def _send_part(self, message: dict[str, Any], part: FilePart) -> None:
        is_last = not message.get("more_body")
        if self.state == STARTED and self._length is not None and is_last:
            self._check_whole(part.count)
        data = self._require_body(message)
        self.sent += part.count
        before, count, behind = self._frame_part(part, is_last=is_last)
        if data or before:
            await self.link.write(data + before)
        if count:
            await self.link.write_file(part.fd, part.offset, count)
        if behind:
            await self.link.write(behind)
        if is_last:
            await self._end_body()

    def _frame_part(self, part: FilePart, *, is_last: bool) -> tuple[bytes, int, bytes]:
        """Return the bytes before a part of a file, the length of the part, and the bytes after."""
        count = part.count
        if self.framing == NO_BODY:
            return b"", 0, b""
        if self.framing == BY_LENGTH:
            before = self._within_length(b"", is_last=is_last)
            if count and not is_last and self.sent == self._length:
                count -= 1  # held back, as in a body of bytes
                self._held = read_at(part.fd, 1, part.offset + count)
            return before, count, b""
        before = behind = b""
        if self.framing == CHUNKED:
            before, behind = (b"%x\r\n" % count, b"\r\n") if count else (b"", b"")
            if is_last and not self._with_trailers:
                behind += b"0\r\n\r\n"
        return before, count, behind

    def _set_length(self, length: int) -> None:
        """Give an answer the length that its only event has."""
        self._lines.append(b"\r\ncontent-length: %d" % length)
        self._length = length

    def _check_length(self, size: int) -> None:
        """Give an answer its length, or raise if the application gave another one."""
        if self._length is not None:
            raise self._wrong_length(size)
        self._set_length(size)

    def _check_whole(self, size: int) -> None:
        if self._length != size and not self._is_special:
            raise self._wrong_length(size)

    # Errors.

    def _as_bytes(self, body: object) -> bytes:
        if isinstance(body, (bytearray, memoryview, bytes)):
            return bytes(body)
        raise ApplicationError(
            f"{describe(self.link.app)} sent {BODY!r} with body={body!r:.100}\n"
            '  wrong: {"type": "http.response.body", "body": "text"}\n'
            '  right: {"type": "http.response.body", "body": b"text"}'
        )

    def _wrong_length(self, size: int) -> ApplicationError:
        return ApplicationError(
            f"{describe(self.link.app)} sent a body of {size} bytes"
            f"{' or more' if size > (self._length or 0) else ''}"
            f" in {BODY!r}, its content-length says {self._length}\n"
            "  right: the number of bytes that follow, or no content-length"
        )

    def _unexpected(self, message: Any, state: str) -> Exception:
        if self.state == CUT:
            return ClientDisconnected("the request broke off")
        right = {
            NEW: f"{START!r}",
            STARTED: f"{BODY!r}",
            STREAMING: f"{BODY!r}",
            TRAILERS: f"{TRAILER_EVENT!r}",
            DONE: "nothing after the last piece of the body",
        }
        return unexpected(self.link.app, message, state, right[self.state])


def without(fields: bytes, name: bytes) -> bytes:
    """Return lines of a head without those of that name."""
    lines = fields.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(name + b":"))
