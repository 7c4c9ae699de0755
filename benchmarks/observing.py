"""Measure the cost of looking inside: an echo server under load, with and without an observer.

    python -m benchmarks.observing top
    python -m benchmarks.observing slow_step
    python -m benchmarks.observing tree

`top` attaches `anyio-mio top` in a pseudo-terminal to the server; `slow_step` compares two servers,
one with the watchdog. Both are measured in turns, and medians are shown. The load, the server and
`top` share the machine's processors. `tree` asks a run of 10,000 tasks for its task tree, and shows
the longest stop that another task of the run has seen.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import anyio

import anyio_mio
from anyio_mio._bench.processes import Drive, loading
from anyio_mio.console import observe_runs
from anyio_mio.console.client import ConsoleClient
from anyio_mio.lowlevel import task_tree
from benchmarks.asgi import cpu_seconds

DRIVE = Drive("tcp", peers=50)
TASKS = 10_000
SIZE = {"COLUMNS": "120", "LINES": "40", "TERM": "xterm"}


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement: round trips a second, the server's CPU for each, and a p99, in µs."""

    rate: float
    cpu: float
    p99: float


@dataclass(frozen=True, slots=True)
class Server:
    """An echo server: its port, and the process that serves. It has no UNIX socket."""

    port: int
    pid: int
    folder: str = ""

    def measure(self, seconds: float) -> Turn:
        """Load it for so many seconds."""
        with loading(self, DRIVE, seconds) as load:
            before = cpu_seconds(self.pid)
            load.begin()
            done = load.figures()
            used = cpu_seconds(self.pid) - before
        return Turn(done.round_trips / done.seconds, used / done.round_trips * 1e6, done.p99_us)


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """Run `anyio-mio serve echo` in processes of its own."""
    command = [sys.executable, "-m", "anyio_mio", "serve", "echo", "--bind", "127.0.0.1:0"]
    command += ["--log-format", "json", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = pid = 0
        while not (port and pid):
            line = json.loads(process.stderr.readline())
            port = int(line["address"].rpartition(":")[2]) if "address" in line else port
            pid = line["pid"] if line["event"] == "worker ready" else pid
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield Server(port, pid)
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def top_of(folder: str) -> Iterator[int]:
    """Run `anyio-mio top` in a terminal that shows nothing; yield its process ID."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ.update(SIZE)
        os.execv(sys.executable, [sys.executable, "-m", "anyio_mio", "top", folder])
    threading.Thread(target=drain, args=[terminal], daemon=True).start()
    try:
        yield pid
    finally:
        os.write(terminal, b"q")
        os.waitpid(pid, 0)


def drain(terminal: int) -> None:
    """Read what is drawn until the program behind the terminal ends."""
    with suppress(OSError):
        while os.read(terminal, 65536):
            pass
    os.close(terminal)


def report(what: str, off: list[Turn], on: list[Turn]) -> None:
    """Print the medians of both, and how they differ."""
    rates, costs, tails = (
        [median(getattr(turn, name) for turn in turns) for turns in (off, on)]
        for name in ("rate", "cpu", "p99")
    )
    sys.stdout.write(
        f"{what}: {rates[0]:,.0f} -> {rates[1]:,.0f} round trips/s ({change(rates)}), "
        f"server {costs[0]:.2f} -> {costs[1]:.2f} µs of CPU each ({change(costs)}), "
        f"p99 {tails[0] / 1e3:.2f} -> {tails[1] / 1e3:.2f} ms\n"
    )


def change(pair: list[float]) -> str:
    """Return how the second differs from the first."""
    return f"{(pair[1] / pair[0] - 1) * 100:+.1f} %"


def measure_top(rounds: int, seconds: float) -> None:
    """Measure a server without and with `top`, in turns."""
    off, on, own = [], [], []
    with tempfile.TemporaryDirectory() as folder, serving("--console", folder) as server:
        server.measure(seconds)
        for _ in range(rounds):
            off.append(server.measure(seconds))
            with top_of(folder) as pid:
                time.sleep(2)  # it has started
                before, start = cpu_seconds(pid), time.perf_counter()
                on.append(server.measure(seconds))
                own.append((cpu_seconds(pid) - before) / (time.perf_counter() - start))
    report("top", off, on)
    sys.stdout.write(f"top itself: {median(own) * 1e3:.1f} ms of CPU a second\n")


def measure_slow_step(rounds: int, seconds: float) -> None:
    """Measure a server without and one with the watchdog, in turns."""
    off: list[Turn] = []
    on: list[Turn] = []
    with serving() as without, serving("--slow-step", "0.1") as watched:
        for server in (without, watched):
            server.measure(seconds)
        pairs = [(without, off), (watched, on)]
        for _ in range(rounds):
            for server, turns in pairs:
                turns.append(server.measure(seconds))
            pairs.reverse()
    report("slow_step", off, on)


def measure_tree(rounds: int, seconds: float) -> None:
    """Measure the task tree of many tasks, asked for in the run and from another process."""
    with tempfile.TemporaryDirectory() as folder:
        console = Path(folder) / "console"
        observe_runs(str(console))
        anyio_mio.run(many_tasks, console, rounds)


async def many_tasks(console: Path, rounds: int) -> None:
    """Take the tree of many tasks, here and from another process, while a task ticks."""
    async with anyio.create_task_group() as group:
        for _ in range(TASKS):
            group.start_soon(anyio.sleep, 1000)
        await anyio.sleep(0.5)
        inside = [timed(task_tree) for _ in range(rounds)]
        show("task_tree() in the run", inside)
        stops: list[tuple[float, float]] = []
        group.start_soon(tick, stops)
        for question in ("stats", "tree"):
            stops.clear()
            answers = [await ask_elsewhere(console, question) for _ in range(rounds)]
            show(f"asked for {question}", answers)
            wall, cpu = (max(column) * 1e3 for column in zip(*stops, strict=True))
            sys.stdout.write(f"  longest stop {wall:.1f} ms, {cpu:.1f} ms of CPU\n")
        group.cancel_scope.cancel()


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the wall time and the CPU time of a call."""
    start, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - cpu


async def ask_elsewhere(console: Path, question: str) -> tuple[float, float]:
    """Ask from another process; return how long it waited, and this process's CPU."""
    code = f"import time; from pathlib import Path; from {ConsoleClient.__module__} import *\n"
    code += f"with ConsoleClient(Path({str(console)!r})) as client:\n"
    code += f"    start = time.perf_counter(); client.ask({question!r})\n"
    code += "print(time.perf_counter() - start)"
    cpu = time.process_time()
    done = await anyio.run_process([sys.executable, "-c", code])
    return float(done.stdout), time.process_time() - cpu


async def tick(stops: list[tuple[float, float]]) -> None:
    """Record the pauses between the steps of this task: wall time, and this process's CPU time.

    The CPU time includes the console's thread. Other programs on the machine do not change it.
    """
    while True:
        start, cpu = time.perf_counter(), time.process_time()
        await anyio.sleep(0.001)
        stops.append((time.perf_counter() - start - 0.001, time.process_time() - cpu))


def show(what: str, times: list[tuple[float, float]]) -> None:
    """Print the median of wall times and CPU times."""
    wall, cpu = (median(column) for column in zip(*times, strict=True))
    sys.stdout.write(f"{what}: {wall:.3f} s, {cpu:.3f} s of CPU\n")


ROWS = {"top": measure_top, "slow_step": measure_slow_step, "tree": measure_tree}


def main() -> None:
    """Measure the rows that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS], default=[*ROWS])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    for row in given.rows:
        ROWS[row](given.rounds, given.seconds)


if __name__ == "__main__":
    main()
