"""The line server of "Moving from asyncio and uvloop" loses no line and blames no client."""

from __future__ import annotations

import logging
import socket
import struct
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

import anyio_mio
from tests.docs.page import ROOT, Page

GUIDE = ROOT / "docs" / "guides" / "from-uvloop.md"
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "mio"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's blocks define."""
    page = Page(GUIDE, tmp_path_factory.mktemp("page"))
    page.run()
    return vars(page.module)


def say_and_finish(port: int) -> bytes:
    """Send two lines, the last without a newline, and return what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"first\nlast")
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(partial(client.recv, 100), b""))


def reset(port: int) -> bytes:
    """Leave in the middle of a line, by a reset."""
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    client.sendall(b"first\nhalf")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    return b""


def hang_up(port: int) -> bytes:
    """Send much and read nothing, so that the answer meets a closed connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"line\n" * 2000)
    return b""


def send_a_long_line(port: int) -> bytes:
    """Send more than a line may have; the server hangs up, perhaps with bytes unread."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"x" * 70_000)
        with suppress(ConnectionResetError):
            return client.recv(100)
    return b""


CLIENTS = {
    "sends a long line": send_a_long_line,
    "says and finishes": say_and_finish,
    "resets": reset,
    "hangs up": hang_up,
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", ["handle", "handle_both"])
async def test_a_client_that_leaves_causes_no_line_above_debug(
    name: str, client: str, names: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stop = anyio.Event()
    serve = partial(anyio_mio.serve_tcp, names[name], 0, host="127.0.0.1", stop=stop, grace=5)
    summaries = []

    async def run(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
        summaries.append(await serve(task_status=task_status))

    async with anyio.create_task_group() as group:
        [listener] = await group.start(run)
        port = listener.extra(SocketAttribute.local_port)
        answer = await anyio.to_thread.run_sync(CLIENTS[client], port)
        stop.set()

    assert [each.getMessage() for each in caplog.records] == []
    assert (summaries[0].accepted, summaries[0].failed, summaries[0].cancelled) == (1, 0, 0)
    if (name, client) == ("handle", "says and finishes"):
        assert answer == b"FIRST\nLAST"
