"""An MCP server; as a program it talks over its standard input and output, on mio."""

from __future__ import annotations

import anyio.lowlevel
from mcp.server.mcpserver import Context, MCPServer
from sniffio import current_async_library

import anyio_mio

server = MCPServer("arithmetic")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds; MCP runs a function that is not async in a worker thread."""
    return a + b


@server.tool()
async def which_backend() -> str:
    """Names the backend that the server runs on."""
    return current_async_library()


@server.tool()
async def count(to: int, context: Context) -> str:
    """Counts and reports each step while it goes on."""
    for step in range(1, to + 1):
        await context.report_progress(step, to)
        await anyio.lowlevel.checkpoint()
    return "counted"


@server.resource("greeting://{name}")
def greeting(name: str) -> str:
    """A resource whose address has a part that varies."""
    return f"Hello, {name}!"


if __name__ == "__main__":
    anyio_mio.run(server.run_stdio_async)
