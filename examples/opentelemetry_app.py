"""Traces of a Starlette application on mio by OpenTelemetry: a span for each request and each step.

    python examples/opentelemetry_app.py     # serves http://127.0.0.1:8000 until Ctrl-C
    curl http://127.0.0.1:8000/books         # the spans are printed as JSON

It needs `pip install starlette opentelemetry-sdk opentelemetry-instrumentation-starlette` and the
extra `asgi`. In production an exporter for OTLP takes the place of the one that prints. Spans
follow context variables, so those of tasks and worker threads are children of the request's.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import anyio
from opentelemetry import trace
from opentelemetry.instrumentation.starlette import StarletteInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import anyio_mio
import anyio_mio.asgi

TRACER = trace.get_tracer(__name__)


def query(shelf: str) -> int:
    with TRACER.start_as_current_span(f"query {shelf}"):
        time.sleep(0.01)  # a database that blocks
        return len(shelf)


async def books(request: Any) -> JSONResponse:
    async with anyio.create_task_group() as group:
        for shelf in ("novels", "poems"):
            group.start_soon(anyio.to_thread.run_sync, query, shelf)
    return JSONResponse({"books": 11})


def make_app(exporter: Any) -> Starlette:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    app = Starlette(routes=[Route("/books", books)])
    StarletteInstrumentor.instrument_app(app, tracer_provider=provider)
    return app


if __name__ == "__main__":
    anyio_mio.run(partial(anyio_mio.asgi.serve, make_app(ConsoleSpanExporter())))
