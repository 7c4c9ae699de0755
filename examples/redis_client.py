"""Redis through coredis on mio: counting at once, a pipeline, and a message to a subscriber.

    pip install coredis
    redis-server --save '' &             # a server that keeps nothing
    python examples/redis_client.py      # or with a port: python examples/redis_client.py 6380

coredis is written on AnyIO, so the name of the backend is all that it takes.
"""

from __future__ import annotations

import sys

import anyio
from coredis import Redis

import anyio_mio


async def count_at_once(client: Redis[str], tasks: int) -> int:
    """Each task adds one; Redis does not mind in which order."""
    await client.delete(["visits"])

    async def visit() -> None:
        await client.incr("visits")

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(visit)
    return int(await client.get("visits") or 0)


async def first_message(client: Redis[str]) -> str:
    """Subscribes, publishes, and returns what arrives."""
    async with client.pubsub(channels=["news"]) as subscription:
        await client.publish("news", "mio is running")
        async for message in subscription:
            if message["type"] == "message":
                return str(message["data"])
    raise LookupError("the subscription ended")


async def main(port: int = 6379) -> tuple[int, list[int], str]:
    async with Redis(host="127.0.0.1", port=port, decode_responses=True) as client:
        visits = await count_at_once(client, 50)
        async with client.pipeline() as pipeline:  # one packet for three commands
            answers = [pipeline.incrby("visits", number) for number in (1, 10, 100)]
        sums = [await answer for answer in answers]
        news = await first_message(client)
    print(f"50 tasks counted to {visits}, the pipeline to {sums}; news: {news}")
    return visits, sums, news


if __name__ == "__main__":
    anyio_mio.run(main, *map(int, sys.argv[1:]))
