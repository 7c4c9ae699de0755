"""The management address for other programs: ``/metrics``, ``/healthz`` and ``/readyz``.

The supervisor answers, and not a worker: it knows all workers, it answers while they are busy or
stuck, and it has its own port. The paths are those that Kubernetes' own components have:

============  ==================================================================================
``/healthz``  200 as long as the supervisor runs. It replaces workers that crash or hang by
              itself, so there is nothing that a restart of the whole would mend.
``/readyz``   200 if each worker's place has one that serves, and the server is not stopping; else
              503 and the reason. A reload keeps it at 200: the old worker serves until the new one
              does.
``/metrics``  the merged metrics of all workers, for Prometheus.
============  ==================================================================================

Each connection gets one answer and is closed. A slow or silent client has `PATIENCE` seconds, and
at most `MOST_CLIENTS` can wait at once. They cannot delay the workers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from socket import socket
from typing import Any, Final, final

import anyio
import h11
from anyio.abc import ByteStream, SocketListener

import anyio_mio

PATIENCE: Final = 10.0
MOST_CLIENTS: Final = 32
LARGEST_HEAD: Final = 16384
TEXT: Final = "text/plain; charset=utf-8"

HANGS_UP: Final = (anyio.EndOfStream, anyio.BrokenResourceError, h11.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to one request.

    Attributes:
        body: the text.
        status: the status code.
        kind: the media type of the body.
    """

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    kind: str = TEXT


Page = Callable[[str], Awaitable[Answer]]
"""Makes the answer for one path; called with the request's field ``Accept``."""


@final
class Management:
    """Answers HTTP requests on a few sockets.

    Args:
        pages: for each path, the function that makes its answer.
    """

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages

    async def serve(self, sockets: Sequence[socket]) -> None:
        """Serve listening sockets until cancelled."""
        listeners: list[Any] = [await SocketListener.from_socket(sock) for sock in sockets]
        if listeners:
            await anyio_mio.serve_listeners(
                self._converse, listeners, max_connections=MOST_CLIENTS, grace=0, queued="refuse"
            )

    async def _converse(self, stream: ByteStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)
        with anyio.move_on_after(PATIENCE), suppress(*HANGS_UP):
            while (request := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await stream.receive())
            if isinstance(request, h11.Request):
                answer = await self._answer(request)
                await stream.send(encode(connection, request, answer))

    async def _answer(self, request: h11.Request) -> Answer:
        page = self._pages.get(request.target.partition(b"?")[0].decode("latin-1"))
        if page is None:
            known = " ".join(self._pages)
            return Answer(f"no such page; there are: {known}\n".encode(), HTTPStatus.NOT_FOUND)
        if request.method not in (b"GET", b"HEAD"):
            return Answer(b"right: GET\n", HTTPStatus.METHOD_NOT_ALLOWED)
        return await page(dict(request.headers).get(b"accept", b"").decode("latin-1"))


def encode(connection: h11.Connection, request: h11.Request, answer: Answer) -> bytes:
    """Return the bytes of an answer."""
    fields = [
        ("content-type", answer.kind),
        ("content-length", str(len(answer.body))),
        ("cache-control", "no-store"),
        ("connection", "close"),
    ]
    if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
        fields.append(("allow", "GET, HEAD"))
    head = h11.Response(status_code=answer.status, headers=fields, reason=answer.status.phrase)
    body = b"" if request.method == b"HEAD" else answer.body
    parts = (head, h11.Data(data=body), h11.EndOfMessage())
    return b"".join(connection.send(part) or b"" for part in parts)
