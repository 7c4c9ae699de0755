"""A connection that became a WebSocket: messages between the client and the application.

websockets' `ServerProtocol` parses and makes the frames; here are the reading, the writing and the
events of ASGI. The application's ``receive()`` reads the socket, so a client that sends faster than
the application takes is slowed down by the socket. An application that only sends would leave pings
unanswered and a close unseen: there the server looks from time to time whether something has come.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Final, Protocol, final

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream
from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from anyio_mio.asgi.bridge import ASYNCIO, LIBRARY, call_in_task
from anyio_mio.asgi.client import GONE, abort, has_unread, linger
from anyio_mio.asgi.errors import (
    ApplicationError,
    ClientDisconnected,
    describe,
    is_about_the_client,
    sent_by,
    unexpected,
)
from anyio_mio.asgi.exchange import Exchange
from anyio_mio.asgi.frames import BINARY, TEXT, FrameBorders, make_frame, take_messages
from anyio_mio.asgi.refusal import refusal
from anyio_mio.asgi.response import DONE
from anyio_mio.asgi.response_head import join_head
from anyio_mio.asgi.site import NEVER, Site

LOGGER: Final = logging.getLogger("anyio_mio.asgi")

FRAMES: Final = logging.getLogger("anyio_mio.asgi.frames")
FRAMES.setLevel(logging.WARNING)

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a client may take to answer a close."""

LOOK: Final = 5.0
"""Seconds between two checks for a client's pings while the application does not read."""

MOST_EARLY: Final = 65536
"""Bytes that a client may send before the application has accepted."""

ACCEPT: Final = "websocket.accept"
SEND: Final = "websocket.send"
CLOSE: Final = "websocket.close"
DENIAL_START: Final = "websocket.http.response.start"
DENIAL_BODY: Final = "websocket.http.response.body"

CONNECTING: Final = "while it connects"
OPEN: Final = "while it is open"
DENYING: Final = "while it is being denied"
CLOSED: Final = "after it was closed"

EXPECTED: Final = {
    CONNECTING: f"{ACCEPT!r}, {CLOSE!r} or {DENIAL_START!r}",
    OPEN: f"{SEND!r} or {CLOSE!r}",
    DENYING: f"{DENIAL_BODY!r}",
    CLOSED: "nothing",
}


class Carrier(Protocol):
    """The connection below."""

    app: Any
    site: Site
    stream: ByteStream
    read_due: float
    is_gone: bool

    async def write(self, data: bytes) -> None:
        """Send to the client; ClientDisconnected if it is gone."""

    def take_unparsed(self) -> bytes:
        """Return what came behind the handshake."""


@final
class WebSocket:
    """One WebSocket, from the handshake to the close."""

    def __init__(self, carrier: Carrier, exchange: Exchange, scope: dict[str, Any]) -> None:
        settings = carrier.site.settings
        self._carrier = carrier
        self._exchange = exchange
        self._scope = scope
        self._protocol = ServerProtocol(
            state=State.OPEN,  # the handshake is parsed already
            extensions=[ServerPerMessageDeflateFactory()] if settings.ws_compression else None,
            max_size=settings.ws_max_size,
            logger=FRAMES,
        )
        self._handshake: Response
        self._state = CONNECTING
        self._was_connected = False  # whether the application was told of the connection
        self._early = carrier.take_unparsed()
        self._messages: deque[dict[str, Any]] = deque()
        self._fragments: list[bytes] = []
        self._is_text = False
        self._is_garbled = False  # whether a text was not UTF-8: all that follows is ignored
        self._end: dict[str, Any] | None = None  # the disconnect, once there is one
        self._is_reading = self._is_writing = False
        self._changed: anyio.Event | None = None
        self._pong_due = NEVER
        self._borders = FrameBorders()
        self._most = NEVER if settings.ws_max_size is None else settings.ws_max_size
        self._is_plain = False  # whether there are no extensions; known after the handshake

    async def run(self) -> None:
        """Shake hands, let the application talk, and close."""
        fields = [(n.decode("ascii"), v.decode("latin-1")) for n, v in self._exchange.headers]
        self._handshake = self._protocol.accept(Request(self._scope["path"], Headers(fields)))
        self._is_plain = not self._protocol.extensions
        carrier = self._carrier
        try:
            if self._handshake.status_code != 101:
                await carrier.write(self._handshake.serialize())
                await linger(carrier.stream)
                return
            await self._run_application()
        except ClientDisconnected:
            await abort(carrier.stream)
        finally:
            carrier.read_due = NEVER

    async def _run_application(self) -> None:
        code = 1000
        self._set_alarm()
        try:
            await self._carrier.app(self._scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001 - an application may raise anything
            code = 1011
            self._log_failure(error)
        if self._state == CONNECTING:
            await self._carrier.write(refusal(500))
            await linger(self._carrier.stream)
        elif self._state == DENYING:
            if self._exchange.state != DONE:
                await abort(self._carrier.stream)
        else:
            await self._close(code)

    def _log_failure(self, error: Exception) -> None:
        name, path = describe(self._carrier.app), self._scope["path"]
        if is_about_the_client(error):
            LOGGER.debug("%s: the client of WebSocket %s hung up", name, path)
        else:
            LOGGER.error("%s failed at WebSocket %s", name, path, exc_info=error)

    # What comes from the client.

    async def receive(self) -> dict[str, Any]:
        """Return the next event: the connection, messages, the disconnect."""
        if LIBRARY.name == ASYNCIO:
            return await call_in_task(self.receive)
        if not self._was_connected:
            self._was_connected = True
            return {"type": "websocket.connect"}
        messages = self._messages
        while not messages:
            if self._end is not None:
                await anyio.lowlevel.checkpoint()
                return self._end
            await self._read()
        return messages.popleft()

    async def _read(self) -> None:
        """Read once; if another task of the application is reading, wait until it has read."""
        if self._is_reading:
            await self._wait_for_change()
            return
        self._is_reading = True
        try:
            if self._early and self._state not in (CONNECTING, DENYING):
                data, self._early = self._early, b""
            else:
                data = await self._carrier.stream.receive()
        except GONE:
            self._carrier.is_gone = True
            self._protocol.receive_eof()
            self._note_end()
        else:
            self._take(data)
            if self._protocol.writes:
                await self._flush()
        finally:
            self._is_reading = False
            if self._changed is not None:
                self._note_change()

    def _take(self, data: bytes) -> None:
        """Parse a piece of data; the protocol may have to answer what is in it."""
        if self._state == CONNECTING or self._state == DENYING:
            self._early += data
            if len(self._early) > MOST_EARLY:
                raise ClientDisconnected("the client sent too much before it was accepted")
            return
        self._pong_due = NEVER  # it is alive
        is_between = self._borders.is_between and not self._fragments
        if is_between and self._protocol.state is State.OPEN:
            end = take_messages(data, self._messages, self._most)
            if end == len(data):
                return
            data = data[end:]
        self._take_frames(data)

    def _take_frames(self, data: bytes) -> None:
        """Let the protocol parse frames."""
        protocol = self._protocol
        self._borders.follow(data)
        protocol.receive_data(data)
        for frame in protocol.events_received():
            if isinstance(frame, Frame) and not self._is_garbled:
                self._take_frame(frame)
        if protocol.state is not State.OPEN:
            self._note_end()

    def _take_frame(self, frame: Frame) -> None:
        """Make messages of frames."""
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            self._is_text = opcode is Opcode.TEXT
            if frame.fin:
                self._take_message(bytes(frame.data))
            else:
                self._fragments = [bytes(frame.data)]
        elif opcode is Opcode.CONT:
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                data, self._fragments = b"".join(self._fragments), []
                self._take_message(data)

    def _take_message(self, data: bytes) -> None:
        if not self._is_text:
            self._messages.append({"type": "websocket.receive", "bytes": data})
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            self._is_garbled = True
            if self._protocol.state is State.OPEN:
                self._protocol.fail(1007, f"{error.reason} at position {error.start}")
        else:
            self._messages.append({"type": "websocket.receive", "text": text})

    def _note_end(self) -> None:
        """Note the code with which the connection ends; the application gets it."""
        if self._end is None:
            protocol = self._protocol
            close = protocol.close_rcvd or protocol.close_sent or Close(1006, "")
            if protocol.close_sent is not None and protocol.close_rcvd_then_sent is not True:
                close = protocol.close_sent
            self._end = {
                "type": "websocket.disconnect", "code": int(close.code), "reason": close.reason
            }  # fmt: skip

    # What the application says.

    async def send(self, message: dict[str, Any]) -> None:
        """Send one event of the application.

        Raises:
            ClientDisconnected: the client is gone.
            ApplicationError: the event is out of order, or it is none.
        """
        if LIBRARY.name == ASYNCIO:
            await call_in_task(self.send, message)
            return
        kind = message.get("type") if isinstance(message, dict) else None
        state = self._state
        if kind == SEND and state == OPEN:
            await self._send_message(message)
        elif kind == CLOSE and state in (OPEN, CONNECTING):
            await self._send_close(message)
        elif kind == ACCEPT and state == CONNECTING:
            await self._accept(message)
        elif kind == DENIAL_START and state == CONNECTING:
            self._state = DENYING
            await self._exchange.send({**message, "type": "http.response.start"})
        elif kind == DENIAL_BODY and state == DENYING:
            await self._exchange.send({**message, "type": "http.response.body"})
        elif self._end is not None:
            raise ClientDisconnected("the client has closed the WebSocket")
        else:
            raise unexpected(self._carrier.app, message, state, EXPECTED[state])

    async def _send_message(self, message: dict[str, Any]) -> None:
        text, data = message.get("text"), message.get("bytes")
        if self._protocol.state is not State.OPEN:
            raise ClientDisconnected("the client has closed the WebSocket")
        if isinstance(text, str) and data is None:
            kind, payload = TEXT, text.encode()
        elif isinstance(data, (bytes, bytearray, memoryview)) and text is None:
            kind, payload = BINARY, bytes(data)
        else:
            raise ApplicationError(
                f"{describe(self._carrier.app)} sent {SEND!r}"
                f" with text={text!r:.50} and bytes={data!r:.50}\n"
                '  right: one of them: {"type": "websocket.send", "text": "hello"}'
            )
        if self._is_plain and not (self._is_writing or self._protocol.writes):
            await self._write(make_frame(kind, payload))
            return
        if kind == TEXT:
            self._protocol.send_text(payload)
        else:
            self._protocol.send_binary(payload)
        await self._flush()

    async def _send_close(self, message: dict[str, Any]) -> None:
        if self._state == CONNECTING:
            self._state = DENYING
            self._exchange.state = DONE
            self._exchange.status = 403
            await self._carrier.write(refusal(403))
            await linger(self._carrier.stream)
            return
        self._state = CLOSED
        code, reason = message.get("code", 1000), message.get("reason") or ""
        if self._protocol.state is State.OPEN:
            try:
                self._protocol.send_close(code, reason)
            except (ProtocolError, TypeError, AttributeError) as error:
                raise ApplicationError(
                    f"{describe(self._carrier.app)} sent {CLOSE!r}"
                    f" with code={code!r} and reason={reason!r}: {error}\n"
                    "  right: 1000, 1001, 1008, 1011, or 3000 to 4999; a reason of 123 bytes"
                ) from None
            await self._flush()

    async def _accept(self, message: dict[str, Any]) -> None:
        """Answer the handshake."""
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self._scope["subprotocols"]:
            raise ApplicationError(
                f"{describe(self._carrier.app)} sent {ACCEPT!r} with the subprotocol"
                f" {subprotocol!r}, which the client did not offer\n"
                f"  right: one of {self._scope['subprotocols']}, or None"
            )
        noted: list[tuple[bytes, bytes]] = []
        try:
            fields = join_head(200, message.get("headers") or (), noted).partition(b"\r\n")
        except ApplicationError as error:
            raise sent_by(self._carrier.app, ACCEPT, error) from None
        head = [b"HTTP/1.1 101 Switching Protocols"]
        for name, value in self._handshake.headers.raw_items():
            if name.lower() != "date":
                head.append(f"{name}: {value}".encode("latin-1"))
        if subprotocol is not None:
            head.append(f"Sec-WebSocket-Protocol: {subprotocol}".encode("latin-1"))
        data = b"\r\n".join(head) + self._carrier.site.default_fields + fields[1] + fields[2]
        self._state = OPEN
        self._exchange.status = 101
        await self._carrier.write(data + b"\r\n\r\n")

    async def _flush(self) -> None:
        """Write what the protocol has to send: one task at a time, in order."""
        while self._is_writing:
            await self._wait_for_change()
        data = b"".join(self._protocol.data_to_send())
        if data:
            await self._write(data)

    async def _write(self, data: bytes) -> None:
        """Write while no other task writes."""
        self._is_writing = True
        try:
            await self._carrier.write(data)
        finally:
            self._is_writing = False
            if self._changed is not None:
                self._note_change()

    async def _wait_for_change(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def _note_change(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _close(self, code: int) -> None:
        """Close, if the application has not, and wait for the client to do the same."""
        protocol = self._protocol
        if protocol.state is State.OPEN:
            protocol.send_close(code)
            await self._flush()
        with anyio.move_on_after(CLOSE_TIMEOUT):
            while protocol.state is State.CLOSING and protocol.close_rcvd is None:
                if self._carrier.is_gone or protocol.eof_sent:
                    break
                await self._read()
                self._messages.clear()
        await linger(self._carrier.stream)

    # From time to time.

    def _set_alarm(self) -> None:
        site = self._carrier.site
        interval = site.settings.ws_ping_interval
        self._carrier.read_due = site.tick + site.ticks(min(LOOK, interval or LOOK))

    async def alarm(self) -> None:
        """Answer the client's pings if the application does not read, and ping the client."""
        carrier = self._carrier
        if self._state != OPEN or self._end is not None:
            return
        if not (self._is_reading or self._messages) and has_unread(carrier.stream):
            await self._read()
        tick = carrier.site.tick
        if self._pong_due <= tick and not self._messages:
            self._protocol.fail(1011, "keepalive ping timeout")
            await self._flush()
            await abort(carrier.stream)
            return
        await self._ping_in_time()
        self._set_alarm()

    async def _ping_in_time(self) -> None:
        """Ping once for each interval."""
        settings = self._carrier.site.settings
        if settings.ws_ping_interval is None or self._pong_due != NEVER:
            return
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            await self._flush()
            if settings.ws_ping_timeout is not None:
                site = self._carrier.site
                self._pong_due = site.tick + site.ticks(settings.ws_ping_timeout)

    async def shut_down(self) -> None:
        """Tell the client that the server stops; its answer tells the application."""
        if self._state == OPEN and self._protocol.state is State.OPEN:
            self._protocol.send_close(1012)
            await self._flush()
