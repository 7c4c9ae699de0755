"""An MCP server over streamable HTTP: two tools, of which one tells how far it is.

    python examples/mcp_server.py        # serves http://127.0.0.1:8000/mcp until SIGTERM or Ctrl-C

With workers: `anyio-mio serve mcp_server:app --app-dir examples --workers 2`; each request is
answered by any of them, since the application keeps no sessions (`stateless_http`). It needs
the extras `cli` and `asgi`, and `pip install mcp`.
"""

from __future__ import annotations

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

import anyio_mio.asgi

server = MCPServer("calculator")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def count(to: int, context: Context) -> str:
    """Count slowly, and tell how far it is."""
    for number in range(to):
        await context.report_progress(number + 1, to)
        await anyio.sleep(0.01)
    return f"counted to {to}"


app = server.streamable_http_app(stateless_http=True)

if __name__ == "__main__":
    anyio_mio.asgi.run(app, port=8000)
