"""A server as a program: ``python -m tests.programs.server_program`` serves until SIGTERM.

Its first line of output is its address. anycorn listens for signals only on asyncio, so the
program brings its own trigger. The answer to ``/held`` cannot end before the signal came, so a
test that reads it to the end knows that the request outlived the signal.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
from anycorn import Config, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import anyio_mio


def application(told: anyio.Event) -> Any:
    """Any: Starlette's own types of ASGI are looser than anycorn's."""

    async def held(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"before "
            await told.wait()
            yield b"after"

        return StreamingResponse(parts())

    async def short(request: Request) -> Response:
        return Response(b"short")

    return Starlette(routes=[Route("/held", held), Route("/short", short)])


async def wait_for_sigterm(told: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            told.set()
            return


async def main() -> None:
    told = anyio.Event()
    config = Config.from_mapping(
        bind=["127.0.0.1:0"], worker_class="mio", accesslog=None, errorlog=None
    )
    trigger = partial(wait_for_sigterm, told)
    async with anyio.create_task_group() as group:
        program = partial(serve, application(told), config, shutdown_trigger=trigger)
        [url] = await group.start(program)
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio_mio.run(main)
