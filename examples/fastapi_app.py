"""A FastAPI application: JSON, a stream, and a task that runs after the answer.

    python examples/fastapi_app.py       # serves http://127.0.0.1:8000 until SIGTERM or Ctrl-C
    curl http://127.0.0.1:8000/items/3
    curl -N http://127.0.0.1:8000/count
    curl -X POST 'http://127.0.0.1:8000/mails?to=ada@example.org'

With workers: `anyio-mio serve fastapi_app:app --app-dir examples --workers 2`. It needs
the extras `cli` and `asgi`, and `pip install fastapi`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse

import anyio_mio.asgi

app = FastAPI()
sent: list[str] = []


@app.get("/items/{number}")
async def read_item(number: int) -> dict[str, int]:
    return {"number": number}


@app.get("/count")
async def count() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"
            await anyio.sleep(0.1)

    return StreamingResponse(lines(), media_type="text/plain")


@app.post("/mails", status_code=202)
async def write_mail(to: str, tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(send_mail, to)  # runs when the client has its answer
    return {"status": "accepted"}


async def send_mail(to: str) -> None:
    await anyio.sleep(0.1)
    sent.append(to)


if __name__ == "__main__":
    anyio_mio.asgi.run(app, port=8000)
