"""Processes: some at once, their output as it comes, a time limit, and none left behind.

    python examples/processes.py

Each worker is a program of its own. One of them would run for an hour; the time limit cancels its
task, leaving the `async with` ends the process, and the others never notice.
"""

from __future__ import annotations

import subprocess
import sys

import anyio
from anyio.streams.text import TextReceiveStream

import anyio_mio

COUNT = """
import sys, time
for number in range(int(sys.argv[1])):
    print(number, flush=True)
time.sleep(float(sys.argv[2]))
"""


async def run_worker(name: str, lines: int, seconds: float, results: dict[str, str]) -> None:
    command = [sys.executable, "-c", COUNT, str(lines), str(seconds)]
    printed = 0
    with anyio.move_on_after(1) as limit:
        async with await anyio.open_process(command, stderr=subprocess.DEVNULL) as process:
            async for text in TextReceiveStream(process.stdout):  # type: ignore[arg-type]
                printed += text.count("\n")
            await process.wait()
    end = "ran out of time" if limit.cancelled_caught else f"ended with {process.returncode}"
    results[name] = f"{printed} lines, {end}"


async def main() -> dict[str, str]:
    results: dict[str, str] = {}
    async with anyio.create_task_group() as group:
        group.start_soon(run_worker, "short", 3, 0, results)
        group.start_soon(run_worker, "talkative", 1000, 0, results)
        group.start_soon(run_worker, "endless", 5, 3600, results)
    upper = await anyio.run_process(["tr", "a-z", "A-Z"], input=b"and one that answers")
    results["tr"] = upper.stdout.decode()
    for name, result in sorted(results.items()):
        print(f"{name}: {result}")
    return results


if __name__ == "__main__":
    anyio_mio.run(main)
