"""valkey-glide, whose core in Rust answers through a pipe, in tasks of mio with a real server."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

glide: Any = pytest.importorskip("glide", reason="valkey-glide is not installed")

pytestmark = pytest.mark.anyio


async def test_many_tasks_count_and_a_cancelled_command_leaves_the_client_usable(
    redis: int,
) -> None:
    address = glide.NodeAddress("127.0.0.1", redis)
    configuration = glide.GlideClientConfiguration([address], request_timeout=20_000)
    client = await glide.GlideClient.create(configuration)
    await client.delete(["glide"])

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(client.incr, "glide")
    with anyio.move_on_after(0.1) as scope:
        await client.custom_command(["BLPOP", "nothing", "1"])

    assert scope.cancelled_caught
    assert await client.get("glide") == b"20"
    await client.close()
