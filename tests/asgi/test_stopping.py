"""A server that stops loses no request that it could have known, and resets no connection."""

from __future__ import annotations

import signal
import socket
import struct
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.asgi import apps
from tests.asgi.served import Kind, request, serving
from tests.asgi.test_command import MODULE
from tests.asgi.test_websockets import HANDSHAKE, frame
from tests.supervisor.command import port_of
from tests.supervisor.command import serving as serving_command


class Gate:
    """An application that answers once it is let."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.has_begun.set()
        await anyio.to_thread.run_sync(self.may_end.wait, 5)
        await apps.routes(scope, receive, send)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_requests_behind_the_last_answer_do_not_destroy_it(kind: Kind) -> None:
    gate = Gate()
    with serving(gate, kind, lifespan="off") as served, served.connect() as client:
        client.send(request(b"GET", b"/hello"))
        assert gate.has_begun.wait(5)
        served.tell_to_stop()
        client.send(request(b"GET", b"/hello") * 3000)
        gate.may_end.set()
        answer = client.read_answer()
        assert (answer.body, answer[b"connection"]) == (b"hello", b"close")
        assert client.read_all() == b""


def test_a_websocket_that_opens_while_the_server_stops_is_closed_with_1012() -> None:
    is_called = threading.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        is_called.set()
        await anyio.sleep(0.3)
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    with serving(late, lifespan="off", grace=5) as served, served.connect() as client:
        client.send(request(b"GET", b"/", *HANDSHAKE))
        assert is_called.wait(5)
        served.tell_to_stop()
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")
        assert client.read_exactly(4) == b"\x88\x02" + struct.pack("!H", 1012)
        client.send(frame(8, struct.pack("!H", 1012)))
        assert client.read_all() == b""
        assert served.summary.result(5).cancelled == 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_each_client_of_a_server_that_stops_is_answered_or_refused(
    kind: str, workers: str, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    place = "127.0.0.1:0" if kind == "tcp" else f"unix:{path}"
    ends: Counter[str] = Counter()
    with serving_command(f"{MODULE}:starlette", "--bind", place, "--workers", workers) as serve:
        address = str(path) if kind == "unix" else ("127.0.0.1", port_of(serve))
        serve.wait_for("worker ready", int(workers))
        threads = [threading.Thread(target=ask_until_refused, args=(address, ends))
                   for _ in range(6)]  # fmt: skip
        for thread in threads:
            thread.start()
        while ends["answered"] < 100:
            threads[0].join(0.01)
        serve.send(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert serve.status() == 0
    assert set(ends) == {"answered", "refused"}, ends


def ask_until_refused(address: Any, ends: Counter[str]) -> None:
    """Open one connection after the other, with a request on each."""
    end = ""
    while end in ("", "answered"):
        end = ask(address)
        ends[end] += 1


def ask(address: Any) -> str:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
        sock.settimeout(10)
        try:
            sock.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return "refused"
        except OSError as error:
            return f"no connection: {error!r}"
        try:
            sock.sendall(request(b"GET", b"/", b"Connection: close"))
            data = b""
            while piece := sock.recv(4096):
                data += piece
        except OSError as error:
            return f"failed: {error!r}"
    return "answered" if data.startswith(b"HTTP/1.1 200 ") else f"failed: {data!r}"
