"""The kernel of the page "From a poll loop to tasks in 60 lines": its size, and what it does.

That its programs print what the page shows is a test of every page's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import ROOT

PAGE = ROOT / "docs" / "tiny-kernel.md"
FOLDER = ROOT / "examples" / "tiny_kernel"
BLOCK = re.compile(
    r"^```\{code-block\} python\n:caption: (\S+)\n\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCKS = BLOCK.findall(PAGE.read_text())


def run_program(folder: Path, source: str) -> str:
    """Run a program on the last tiny kernel, and return what it prints."""
    (folder / "program.py").write_text(source)
    path = os.pathsep.join([str(FOLDER), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout


def test_the_files_of_the_page_are_the_example() -> None:
    files = {path.name: path.read_text() for path in FOLDER.glob("*.py")}

    assert dict(BLOCKS) == files  # of two blocks for one file, the last


def test_the_kernel_with_task_groups_has_at_most_sixty_lines() -> None:
    kernel = next(text for name, text in BLOCKS if name == "tiny_kernel.py")

    assert len([line for line in kernel.splitlines() if line.strip()]) <= 60


ECHO = """
import socket
from sockets import Socket
from tiny_kernel import TaskGroup, parked, run

async def echo(stream):
    with stream:
        while data := await stream.receive():
            await stream.send(data)

async def serve(listener):
    async with TaskGroup() as connections:
        while True:
            connections.start_soon(echo, await listener.accept())

async def client(address, number):
    with Socket(socket.create_connection(address)) as stream:
        async with TaskGroup() as group:
            message = bytes([number]) * 1_000_000
            received = bytearray()
            while len(received) < len(message):
                await stream.send(message[len(received) : len(received) + 100_000])
                wanted = min(len(message), len(received) + 100_000)
                while len(received) < wanted:
                    received += await stream.receive()
            assert received == message

async def main():
    with Socket(socket.create_server(("127.0.0.1", 0))) as listener:
        async with TaskGroup() as server:
            server.start_soon(serve, listener)
            async with TaskGroup() as clients:
                for number in range(50):
                    clients.start_soon(client, listener.sock.getsockname(), number)
            server.cancel()
    print("parked:", len(parked))

run(main)
"""


def test_it_carries_megabytes_over_many_connections_at_once(tmp_path: Path) -> None:
    assert run_program(tmp_path, ECHO) == "parked: 0\n"


NESTED = """
from tiny_kernel import Cancelled, TaskGroup, park, run

async def wait(name):
    try:
        await park(name)
    except Cancelled:
        print(name, "was cancelled")
        raise

async def nest():
    async with TaskGroup() as inner:
        inner.start_soon(wait, "grandchild")

async def fail():
    raise ValueError("first")

async def cancel_my_group(group):
    group.cancel()
    await park("what never comes")

async def main():
    try:
        async with TaskGroup() as outer:
            outer.start_soon(nest)
            outer.start_soon(fail)
    except* ValueError as group:
        print(repr(group))
    async with TaskGroup() as group:
        group.start_soon(cancel_my_group, group)
    try:
        async with TaskGroup() as group:
            group.start_soon(wait, "child")
            raise KeyError("body")
    except KeyError as error:
        print(repr(error))
    raise OSError("main's own")

try:
    run(main)
except OSError as error:
    print(error)
"""


def test_cancellation_reaches_nested_groups_and_errors_leave_their_block(tmp_path: Path) -> None:
    assert run_program(tmp_path, NESTED).splitlines() == [
        "grandchild was cancelled",
        "ExceptionGroup('tasks failed', [ValueError('first')])",
        "child was cancelled",
        "KeyError('body')",
        "main's own",
    ]


@pytest.mark.parametrize("page", ["index.md", "event-loop.md", "design/index.md"])
def test_the_page_is_linked_where_readers_begin(page: str) -> None:
    assert "tiny-kernel.md)" in (PAGE.parent / page).read_text()
