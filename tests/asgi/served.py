"""A server in a thread of its own, and plain sockets that speak to it."""

from __future__ import annotations

import functools
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import anyio
import h11
import trustme
from anyio.abc import SocketListener
from anyio.from_thread import BlockingPortal, start_blocking_portal

import anyio_mio.asgi
from anyio_mio.serving import ServeSummary

Kind = Literal["tcp", "unix", "tls"]
KINDS: tuple[Kind, ...] = ("tcp", "unix", "tls")

WAIT = 20.0
"""Seconds that a test waits for an answer at the most."""


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@functools.cache
def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@dataclass
class Served:
    """An application that is being served."""

    kind: Kind
    address: Any
    portal: BlockingPortal
    stop: anyio.Event
    summary: Future[ServeSummary]
    open: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.address[1])

    def connect(self) -> Client:
        sock = socket.socket(socket.AF_UNIX if self.kind == "unix" else socket.AF_INET)
        sock.settimeout(WAIT)
        sock.connect(self.address)
        if self.kind == "tls":
            sock = client_context().wrap_socket(
                sock, server_hostname="localhost", suppress_ragged_eofs=False
            )
        client = Client(sock)
        self.open.append(client)
        return client

    def ask(self, data: bytes) -> bytes:
        """Send bytes on a new connection, and read until the server closes it."""
        with self.connect() as client:
            client.send(data)
            return client.read_all()

    def tasks(self) -> int:
        """How many tasks the server's run has."""
        return self.portal.call(count_tasks)

    def tell_to_stop(self) -> None:
        self.portal.call(self.stop.set)


class TLSSocket:
    """A client's TLS on a socket, which one thread may read while another one writes.

    `ssl.SSLSocket` may lose bytes then, before Python 3.13.

    Args:
        sock: a connected socket.
        before: is sent ahead of the handshake, in one piece with its beginning.
    """

    def __init__(self, sock: socket.socket, before: bytes = b"") -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = client_context()
        self._tls = context.wrap_bio(self._came, self._goes, server_hostname="localhost")
        self._goes.write(before)
        self._call(self._tls.do_handshake)

    def _call(self, func: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            with self._lock:
                try:
                    return func(*arguments)
                except ssl.SSLWantReadError:
                    pass
                finally:
                    self._sock.sendall(self._goes.read())
            data = self._sock.recv(65536)
            with self._lock:
                self._came.write(data) if data else self._came.write_eof()

    def recv(self, size: int) -> bytes:
        try:
            return bytes(self._call(self._tls.read, size))
        except ssl.SSLZeroReturnError:
            return b""

    def sendall(self, data: bytes) -> None:
        self._call(self._tls.write, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Client:
    """A socket that expects an answer within `WAIT` seconds."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read_all(self) -> bytes:
        """Everything up to the end; one that is cut short is marked ``b"<reset>"``."""
        data, self.buffer = self.buffer, b""
        try:
            while piece := self.sock.recv(65536):
                data += piece
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            data += b"<reset>"
        return data

    def read_until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            piece = self.sock.recv(65536)
            assert piece, f"the connection ended after {self.buffer!r}"
            self.buffer += piece
        head, found, self.buffer = self.buffer.partition(end)
        return head + found

    def read_exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            piece = self.sock.recv(65536)
            assert piece, f"the connection ended after {self.buffer!r}"
            self.buffer += piece
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_answer(self, method: bytes = b"GET") -> Answer:
        """One answer, read by h11: strictly, and in the given method's way."""
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        reader.send(h11.EndOfMessage())
        if self.buffer:  # nothing at all would mean the end
            reader.receive_data(self.buffer)
        answer = Answer(0, [], b"")
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                reader.receive_data(self.sock.recv(65536))
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
            elif isinstance(event, h11.Data):
                answer.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                answer.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
                self.buffer = reader.trailing_data[0]
                return answer
            elif isinstance(event, h11.ConnectionClosed):
                raise AssertionError("the connection ended before the answer")

    def get(self, target: bytes = b"/", *fields: bytes) -> Answer:
        self.send(request(b"GET", target, *fields))
        return self.read_answer()

    def close(self) -> None:
        self.sock.close()


@dataclass
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __getitem__(self, name: bytes) -> bytes | None:
        return next((value for each, value in self.headers if each == name), None)


def request(method: bytes, target: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A whole request of HTTP/1.1."""
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: test", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@contextmanager
def serving(app: Callable[..., Any], kind: Kind = "tcp", **options: Any) -> Iterator[Served]:
    """Serve an application in a thread, until the end of the block."""
    with tempfile.TemporaryDirectory() as folder, start_blocking_portal("mio") as portal:
        stop = portal.call(make_event)
        if kind == "unix":
            options["unix"] = Path(folder) / "socket"
        else:
            options |= {"port": 0, "host": "127.0.0.1"}
        if kind == "tls":
            options["ssl_context"] = server_context()
        options.setdefault("grace", 2)
        start = functools.partial(anyio_mio.asgi.serve, app, stop=stop, **options)
        summary, listeners = portal.start_task(start)
        served = Served(kind, address_of(listeners), portal, stop, summary)
        try:
            yield served
        finally:
            for client in served.open:
                client.close()
            served.tell_to_stop()
            summary.result(10)


async def count_tasks() -> int:
    return len(anyio.get_running_tasks())


async def make_event() -> anyio.Event:
    return anyio.Event()


def address_of(listeners: Sequence[SocketListener]) -> Any:
    return listeners[0].extra(anyio.abc.SocketAttribute.local_address)
