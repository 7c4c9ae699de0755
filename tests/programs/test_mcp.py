"""MCP, client and server on mio: in memory, over standard input and output, and over HTTP."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.programs.conftest import SECONDS, serve_with_anycorn

pytest.importorskip("mcp", reason="mcp is not installed")

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.programs.mcp_server import server

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PROGRAM = StdioServerParameters(
    command=sys.executable, args=["-m", "tests.programs.mcp_server"], cwd=ROOT
)


ANSWERS = {number: {"result": number + 100} for number in range(20)}


async def call_at_once(client: Client) -> dict[int, object]:
    """Twenty calls of the tool, each in a task of its own."""
    answers: dict[int, object] = {}

    async def call(number: int) -> None:
        result = await client.call_tool("add", {"a": number, "b": 100})
        answers[number] = result.structured_content

    async with anyio.create_task_group() as group:
        for number in ANSWERS:
            group.start_soon(call, number)
    return answers


@asynccontextmanager
async def in_memory() -> AsyncIterator[Client]:
    async with Client(server) as client:
        yield client


@asynccontextmanager
async def over_stdio() -> AsyncIterator[Client]:
    async with Client(stdio_client(PROGRAM)) as client:
        yield client


@asynccontextmanager
async def over_http() -> AsyncIterator[Client]:
    async with (
        serve_with_anycorn(server.streamable_http_app()) as url,
        Client(f"{url}/mcp") as client,
    ):
        yield client


@pytest.fixture(params=[in_memory, over_http], ids=lambda way: way.__name__)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    with anyio.fail_after(SECONDS):
        async with request.param() as client:
            yield client


async def test_a_tool_is_called(client: Client) -> None:
    result = await client.call_tool("add", {"a": 1, "b": 2})

    assert result.structured_content == {"result": 3}


async def test_a_server_over_standard_input_and_output_runs_on_mio() -> None:
    with anyio.fail_after(SECONDS):
        async with over_stdio() as client:
            result = await client.call_tool("which_backend")
            answers = await call_at_once(client)

    assert result.structured_content == {"result": "mio"}
    assert answers == ANSWERS


async def test_calls_at_once_get_their_own_answers(client: Client) -> None:
    assert await call_at_once(client) == ANSWERS


async def test_progress_is_told_while_the_tool_runs(client: Client) -> None:
    told = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    await client.call_tool("count", {"to": 3}, progress_callback=note)

    assert told == [(1, 3), (2, 3), (3, 3)]


async def test_a_resource_is_read(client: Client) -> None:
    result = await client.read_resource("greeting://mio")

    assert [getattr(each, "text", None) for each in result.contents] == ["Hello, mio!"]
