"""One connection: a task that reads it, calls the application, and writes (H1).

One piece of data may hold several requests; they wait in the parser and are answered in order. What
a client pipelines beyond a piece stays unparsed, and then unread: the socket's own back-pressure.

Every wait for the client has a limit (H2). A timer for each wait would cost time in each request.
So a wait only stores its deadline in `read_due` or `write_due`, in ticks of the site, and the
server looks through all connections at each tick.

An application may go on working after its answer. The client's next request must not wait for
that, so another task takes the connection over; see `anyio_mio.asgi.background`.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any, Final, final

from anyio.abc import ByteStream

from anyio_mio.asgi import proxy
from anyio_mio.asgi.background import Successors
from anyio_mio.asgi.client import GONE, abort, has_unread, linger, reset_on_close
from anyio_mio.asgi.errors import (
    ApplicationError,
    ClientDisconnected,
    describe,
    is_about_the_client,
)
from anyio_mio.asgi.exchange import Exchange
from anyio_mio.asgi.files import copy_from_file, send_from_file
from anyio_mio.asgi.proxy_protocol import ProxyHeaderError, parse_header
from anyio_mio.asgi.refusal import refusal
from anyio_mio.asgi.request_parser import NOTED, PIECE, RequestParser
from anyio_mio.asgi.response import CUT_SHORT, DONE
from anyio_mio.asgi.scope import decode_path, websocket_scope
from anyio_mio.asgi.site import NEVER, Application, Handshake, Site
from anyio_mio.asgi.websocket import WebSocket

LOGGER: Final = logging.getLogger("anyio_mio.asgi")

PERCENT: Final = ord("%")
"""A number, because ``number in data`` takes 17 ns, and ``b"%" in data`` takes 190."""

LARGEST_WRITE: Final = 262144
"""Bytes that one write takes: a slow client must read so much in the time that a write may take."""

NOTED_BEHIND_PROXY: Final = NOTED | proxy.FIELDS
"""Fields that the server reads in requests from a trusted proxy."""

FIRST_READ: Final = 4096
"""Bytes that are read at once as long as a PROXY header may come."""

MOST_SKIPPED: Final = 262144
"""Bytes of a body that are read and dropped after the answer, to keep the connection open."""


@final
class Connection:
    """A client's connection.

    Attributes:
        site: what all connections of the server share.
        stream: the connection itself.
        parser: makes requests of the bytes that come.
        read_due: the tick at which the client has taken too long to send; ``write_due`` likewise
            for reading.
        idle_since: the tick at which it began to wait for its next request.
        is_broken: whether an answer was cut short, so that nothing may follow it.
        current: the request that the application is answering; None if there is none.
        conversations: how often another task has taken the connection over.
        successors: the tasks that have taken it over; None if there was none.
        is_gone: whether nothing more can come from the client.
        is_parting: whether the client has its last answer, and may still send.
        session: its WebSocket, once it has become one.
    """

    __slots__ = (
        "_base",
        "_is_fresh",
        "_is_trusted",
        "_must_copy",
        "app",
        "conversations",
        "current",
        "idle_since",
        "is_broken",
        "is_gone",
        "is_parting",
        "parser",
        "read_due",
        "session",
        "site",
        "stream",
        "successors",
        "write_due",
    )

    def __init__(self, site: Site, stream: ByteStream) -> None:
        self.site = site
        self.app: Application = site.app
        self.stream = stream
        self.read_due = self.write_due = NEVER
        self.idle_since = site.tick
        self.is_gone = self.is_broken = self.is_parting = False
        self.current: Exchange | None = None
        self.conversations = 0
        self.successors: Successors | None = None
        self.session: WebSocket | None = None
        self._base = site.base_scope(stream)
        client = self._base["client"]
        self._is_trusted = site.trusted.includes(client[0] if client else None)
        self._must_copy = self._base["scheme"] == "https" or not hasattr(os, "sendfile")
        takes_fields = site.settings.proxy_headers and self._is_trusted
        self.parser = RequestParser(site, self, NOTED_BEHIND_PROXY if takes_fields else NOTED)
        self._is_fresh = True

    # The conversation.

    async def converse(  # noqa: C901, PLR0912, PLR0915 - hot: one frame
        self, answered: Exchange | None = None
    ) -> None:
        """Answer the client's requests until the connection has to be closed.

        Args:
            answered: the request that is answered, while the application works on in another task;
                None at the beginning.
        """
        site, parser = self.site, self.parser
        requests = parser.requests
        answer = self._answer_watched if site.is_watched else self._answer
        accepted = self.stream
        try:
            goes_on = await self._begin(answered)
            receive = self.stream.receive
            while goes_on:
                if requests:
                    goes_on = await answer(requests.pop(0))
                    continue
                if parser.fault or self.is_gone:
                    break
                if parser.unparsed:
                    parser.feed(parser.take_unparsed())
                    self.read_due = NEVER
                    continue
                # Read a piece of the next head. This stands here and in no coroutine of its own:
                # each that is suspended in a wait costs the wait 0.1 us.
                was_idle = parser.is_idle
                if was_idle:
                    self.idle_since = site.tick
                    self.read_due = site.head_due if self._is_fresh else site.idle_due
                elif self.read_due == NEVER:  # it began while the application was busy
                    self.read_due = site.head_due
                # No more than is parsed at once: what is behind stays in the socket, and 10 KB come
                # 0.6 us quicker than into 64 KiB.
                try:
                    data = await receive(PIECE)
                except GONE:
                    self.is_gone = True
                    break
                parser.feed(data)
                del data  # or an idle connection would hold it
                if was_idle and not parser.is_idle:
                    self.read_due = site.head_due  # one limit from the first byte on
            if goes_on and parser.fault and not self.is_gone:
                await self._refuse(parser.fault)
            if self.is_parting:
                await linger(self.stream)
            if self.successors is not None and answered is None:
                await self.successors.wait()
        finally:
            if answered is None:
                await self._end()
        if self.stream is not accepted:  # TLS behind a PROXY header; `serving` closes the rest
            await self.stream.aclose()

    async def _begin(self, answered: Exchange | None) -> bool:
        """Begin, or continue after a request that is answered; True if a request may follow."""
        if answered is not None:
            return await self._go_on(answered)
        self.site.clients.add(self)
        if self.site.settings.proxy_protocol:
            await self._read_preface()
        return True

    async def _end(self) -> None:
        if self.successors is not None:
            await self.successors.end()
        self.parser.close()
        self.site.clients.discard(self)

    def hand_over(self) -> Exchange | None:
        """Let another task go on, if the application works on after its answer.

        Returns:
            The request that was answered, for `converse()`; None if there is none of the kind.
        """
        exchange = self.current
        if exchange is None or exchange.state != DONE or self.session is not None:
            return None
        self.current = None
        self.conversations += 1
        return exchange

    async def _answer_watched(self, exchange: Exchange) -> bool:
        """Answer as `_answer()` does; count the request, log it, and apply the limits."""
        site = self.site
        site.count_request()
        if site.statistics is not None:
            site.statistics.begin(exchange.wants_websocket)
        limit, began = site.settings.limit_concurrency, time.perf_counter()
        if limit is not None and site.active >= limit:
            await self._refuse(503, exchange)
            self._note_end(exchange, time.perf_counter() - began)
            return False
        site.active += 1
        try:
            return await self._answer(exchange)
        finally:
            site.active -= 1
            site.stop_after_last_request()
            self._note_end(exchange, time.perf_counter() - began)

    def _note_end(self, exchange: Exchange, seconds: float) -> None:
        """Count a request that is over, and write its line to the access log, if these are on."""
        site, is_websocket = self.site, exchange.wants_websocket
        if site.statistics is not None:
            site.statistics.end(exchange.method, exchange.status, seconds, is_websocket)
        if site.access_log is not None:
            scope = self._scope(exchange)
            site.access_log(scope, exchange.url, exchange.status, exchange.sent, seconds)

    async def _answer(self, exchange: Exchange) -> bool:
        """Let the application answer one request; True if the connection goes on."""
        self.read_due = NEVER
        self._is_fresh = False
        self.current = exchange
        if exchange.wants_websocket:
            await self._become_websocket(exchange)
            return False
        try:
            await self.app(self._scope(exchange), exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - an application may raise anything
            self._log_failure(exchange, error)
        except BaseException:
            if exchange.state != DONE:
                reset_on_close(self.stream)
            raise
        if exchange.state != DONE:
            await self._end_unfinished(exchange)
            return False
        if self.current is not exchange:  # another task has taken over
            return False
        self.current = None
        return (exchange.is_complete and exchange.keeps_alive) or await self._go_on(exchange)

    async def _go_on(self, exchange: Exchange) -> bool:
        """Read to the end of a request that is answered; True if another one may follow."""
        if exchange.keeps_alive and (exchange.is_complete or await self._skip_body(exchange)):
            return True
        self.is_parting = not exchange.is_complete or self.has_next or has_unread(self.stream)
        return False

    async def _become_websocket(self, exchange: Exchange) -> None:
        offered = [value for name, value in exchange.headers if name == b"sec-websocket-protocol"]
        names = [each.strip() for each in b",".join(offered).decode("latin-1").split(",")]
        scope = websocket_scope(self._scope(exchange), [each for each in names if each])
        self.session = WebSocket(self, exchange, scope)
        await self.session.run()

    async def _end_unfinished(self, exchange: Exchange) -> None:
        """Answer with an error, or break the connection if an answer has begun (H2)."""
        if exchange.framing is None and not (self.is_gone or self.is_broken):
            await self._refuse(self.fault or 500, exchange)
        else:
            await abort(self.stream)

    async def _refuse(self, status: int, exchange: Exchange | None = None) -> None:
        """Answer without the application; the connection ends."""
        answer = refusal(status, with_body=exchange is None or exchange.method != "HEAD")
        try:
            await self.write(answer)
        except ClientDisconnected:
            return
        if exchange is not None:
            exchange.status, exchange.sent = status, len(answer.partition(b"\r\n\r\n")[2])
        elif self.site.statistics is not None:
            self.site.statistics.refused[status] += 1
        self.read_due = NEVER
        self.is_parting = True

    async def _skip_body(self, exchange: Exchange) -> bool:
        """Read the rest of a body, which the application left; the next request follows it."""
        limit = exchange.size + MOST_SKIPPED
        while not exchange.is_complete:
            if exchange.size > limit or self.is_gone or self.fault:
                return False
            exchange.chunks = ()
            await self.read_body()
        return True

    def _log_failure(self, exchange: Exchange, error: Exception) -> None:
        name, path = describe(self.app), exchange.url.decode("ascii", "replace")
        if is_about_the_client(error):
            LOGGER.debug("%s: the client of %s %s hung up", name, exchange.method, path)
        else:
            LOGGER.error("%s failed at %s %s", name, exchange.method, path, exc_info=error)

    # What comes in.

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the first byte of a request."""
        return self.parser.is_idle and self.current is None and not self.is_parting

    @property
    def has_next(self) -> bool:
        """Whether something behind the current request has come already."""
        return self.parser.has_next

    @property
    def fault(self) -> int:
        """The status for what the client has sent and cannot be parsed; or 0."""
        return self.parser.fault

    async def _read_preface(self) -> None:
        """Read what comes before HTTP: the header of a trusted proxy, then the TLS handshake."""
        rest = await self._read_proxy_header() if self._is_trusted else b""
        if self.is_gone:
            return
        if self.site.shake_hands is not None:
            await self._shake_hands(self.site.shake_hands, rest)
        elif rest:
            self.parser.feed(rest)

    async def _read_proxy_header(self) -> bytes:
        """Read the proxy's header, which has the client's address; without it, hang up.

        Returns:
            What came behind the header.
        """
        data = b""
        self.read_due = self.site.head_due
        try:
            while (header := parse_header(data)) is None:
                data += await self.stream.receive(FIRST_READ)
        except (*GONE, ProxyHeaderError) as error:
            LOGGER.debug("no PROXY header from %s: %r", self._base["client"], error)
            self.is_gone = True
            return b""
        if header.client is not None:
            self._base["client"], self._base["server"] = header.client, header.server
        return data[header.size :]

    async def _shake_hands(self, shake_hands: Handshake, begun: bytes) -> None:
        """Make the TLS handshake, of which ``begun`` was read already."""
        self.read_due = NEVER  # the handshake has a limit of its own
        places = {name: self._base[name] for name in ("client", "server")}
        try:
            self.stream = await shake_hands(self.stream, begun)
        except (*GONE, TimeoutError) as error:
            LOGGER.debug("no TLS handshake from %s: %r", places["client"], error)
            self.is_gone = True
            return
        self._base = {**self.site.base_scope(self.stream), **places}
        self._must_copy = True

    async def read_body(self) -> None:
        """Read a piece of a body, which has a limit of its own."""
        self.read_due = self.site.body_due
        try:
            await self.read()
        finally:
            self.read_due = NEVER

    async def read(self) -> None:
        """Parse one piece from the client, or note that it is gone."""
        parser = self.parser
        if parser.unparsed:
            parser.feed(parser.take_unparsed())
            return
        try:
            data = await self.stream.receive()
        except GONE:
            self.is_gone = True
        else:
            parser.feed(data)

    def take_unparsed(self) -> bytes:
        """Return what came behind a request to change the protocol."""
        return bytes(self.parser.take_unparsed())

    # What goes out.

    async def write(self, data: bytes) -> None:
        """Send to the client, within the time that it may take to read.

        Raises:
            ClientDisconnected: the client is gone.
        """
        if self.is_broken:
            raise ClientDisconnected(CUT_SHORT)
        self.write_due = self.site.send_due
        try:
            if len(data) <= LARGEST_WRITE:
                await self.stream.send(data)
            else:
                await self._write_pieces(memoryview(data))
        except GONE as error:
            raise self.gone() from error
        except BaseException:
            self.is_broken = True
            raise
        self.write_due = NEVER

    def gone(self) -> ClientDisconnected:
        """Note that the client is gone; the error that says so."""
        self.is_gone = True
        return ClientDisconnected("the client is gone")

    async def _write_pieces(self, view: memoryview) -> None:
        """Write so that each piece has the time that a write may take."""
        while view:
            self.write_due = self.site.send_due
            # Not as bytes: to copy 256 KiB takes as long as to send them.
            await self.stream.send(view[:LARGEST_WRITE])  # type: ignore[arg-type]
            view = view[LARGEST_WRITE:]

    async def write_file(self, fd: int, offset: int, count: int) -> None:
        """Send a part of an open file.

        Raises:
            ClientDisconnected: the client is gone.
            ApplicationError: the file has become shorter.
        """
        send_some = copy_from_file if self._must_copy else send_from_file
        try:
            while count:
                self.write_due = self.site.send_due
                sent = await send_some(self.stream, fd, offset, min(count, LARGEST_WRITE))
                if not sent:
                    raise ApplicationError("a file became shorter while it was sent")
                offset += sent
                count -= sent
        except GONE as error:
            raise self.gone() from error
        except BaseException:
            self.is_broken = True
            raise
        self.write_due = NEVER

    def _scope(self, exchange: Exchange) -> dict[str, Any]:
        """Return what the application is told about a request."""
        path = exchange.path
        scope = (
            self._base.copy()
        )  # it has all keys: to replace values takes half the time of adding
        scope["http_version"] = exchange.version
        scope["method"] = exchange.method
        scope["path"] = decode_path(path) if PERCENT in path else path.decode("ascii")
        scope["raw_path"] = path
        scope["query_string"] = exchange.query
        scope["headers"] = exchange.headers
        scope["state"] = self.site.state.copy()
        if exchange.takes_trailers or scope["root_path"] or exchange.forwarded:
            self._add_rare(scope, exchange)
        return scope

    def _add_rare(self, scope: dict[str, Any], exchange: Exchange) -> None:
        """Add the keys that few requests need: for a root path, trailers, fields of a proxy."""
        root = scope["root_path"]
        if root:
            scope["path"] = root + scope["path"]
            scope["raw_path"] = root.encode("ascii", "ignore") + scope["raw_path"]
        if exchange.forwarded:
            proxy.heed(scope, exchange.forwarded, self.site.trusted)
        if exchange.takes_trailers:
            scope["extensions"] = {**scope["extensions"], "http.response.trailers": {}}
