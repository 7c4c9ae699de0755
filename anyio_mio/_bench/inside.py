"""Runs one program on a backend, as a process: `python -m anyio_mio._bench.inside BACKEND NAME`.

It prints one line of JSON: what an operation took.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any, Final

import anyio

from anyio_mio._bench import backends
from anyio_mio._bench.processes import python_module
from anyio_mio._bench.programs import GOES, Goes, Program
from anyio_mio._bench.protocol import MeasurementError
from anyio_mio._bench.resources import processor_pair, stay_on

MODULE: Final = "anyio_mio._bench.inside"
LIMIT: Final = 120.0  # seconds for one process beyond its measuring time


def measure_program(
    backend: str, name: str, seconds: float, n: int | None = None, module: str = MODULE
) -> dict[str, float]:
    """Run a program in a process of its own.

    Args:
        backend: A name that `backends.installed()` gives.
        name: One of the module's programs.
        seconds: How long to repeat it; it runs once at least.
        n: How many operations make one go.
        module: Calls `main()` with the programs.

    Raises:
        MeasurementError: It failed or did not end.
    """
    command = python_module(module, backend, processor_pair()[0])
    command += [name, f"--seconds={seconds}", *([f"--n={n}"] if n else [])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"{name} on {backend} did not end") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise MeasurementError(f"{name} on {backend}: {last[0]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


async def repeat(program: Program, n: int, seconds: float) -> dict[str, Any]:
    """Run a program over and over; the first go only warms up, unless it is a long one."""
    await program(min(n, 100))
    operations = 0
    began, cpu = time.perf_counter(), time.process_time()
    while not operations or time.perf_counter() - began < seconds:
        await program(n)
        operations += n
    elapsed, used = time.perf_counter() - began, time.process_time() - cpu
    return {"cpu_us": used / operations * 1e6, "rate": operations / elapsed}


def main(goes: Goes = GOES) -> None:
    """Run the program that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend")
    parser.add_argument("program", choices=goes)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--n", type=int)
    parser.add_argument("--processor", type=int)
    given = parser.parse_args()
    stay_on(given.processor)
    program, usual = goes[given.program]
    run = backends.run_arguments(given.backend)
    figures = anyio.run(repeat, program, given.n or usual, given.seconds, **run)
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main()
