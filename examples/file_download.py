"""A Starlette application that serves the files of a folder, or parts of them.

    python examples/file_download.py .   # serves http://127.0.0.1:8000 until SIGTERM or Ctrl-C
    curl http://127.0.0.1:8000/
    curl -O http://127.0.0.1:8000/README.md
    curl -r 0-99 http://127.0.0.1:8000/README.md

The system copies a whole file to the socket (sendfile): Starlette's FileResponse asks for it where
the server offers it. It needs the extra `asgi`, and `pip install starlette`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Route

import anyio_mio.asgi


def make_app(folder: Path) -> Starlette:
    """An application for the files of a folder, without those below it."""

    async def names(request: Request) -> PlainTextResponse:
        found = [path.name async for path in anyio.Path(folder).iterdir() if await path.is_file()]
        return PlainTextResponse("".join(f"{name}\n" for name in sorted(found)))

    async def download(request: Request) -> FileResponse:
        path = folder / request.path_params["name"]
        if not await anyio.Path(path).is_file():
            raise HTTPException(404)
        return FileResponse(path)

    return Starlette(routes=[Route("/", names), Route("/{name}", download)])


if __name__ == "__main__":
    anyio_mio.asgi.run(make_app(Path(sys.argv[1])), port=8000)
