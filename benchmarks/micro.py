"""The rows that need no socket, under pyperf: steady enough to compare two commits.

    python benchmarks/micro.py -o before.json            # some minutes; --fast for a first look
    python benchmarks/micro.py -o after.json             # on the other commit
    python -m pyperf compare_to before.json after.json --table

`--backend trio` measures another backend, `--rows checkpoint,spawn` fewer rows; all other options
are pyperf's. It runs each row in many processes of its own and warms each up; a value is the time
of one operation. Needs `pip install pyperf`.
"""

from __future__ import annotations

import argparse
import sys
import time

import anyio

import anyio_mio  # noqa: F401 - registers the backend
from anyio_mio._bench.backends import installed, run_arguments
from anyio_mio._bench.programs import GOES

try:
    import pyperf
except ImportError:
    sys.exit("this needs pyperf\n  right: pip install pyperf")


def seconds_for(loops: int, backend: str, row: str) -> float:
    """How long a row takes, so many times over."""
    program, operations = GOES[row]

    async def measure() -> float:
        await program(min(operations, 100))
        began = time.perf_counter()
        for _ in range(loops):
            await program(operations)
        return time.perf_counter() - began

    return anyio.run(measure, **run_arguments(backend))


def chosen(names: str) -> list[str]:
    """The rows of a comma-separated list."""
    rows = names.split(",")
    for row in rows:
        if row not in GOES:
            sys.exit(f"there is no row {row!r}\n  right: --rows {','.join(GOES)}")
    return rows


def pass_on(command: list[str], given: argparse.Namespace) -> None:
    """Add our options to the command line of pyperf's processes."""
    command += ["--backend", given.backend, "--rows", given.rows]


def main() -> None:
    """Measure the rows of the command line."""
    runner = pyperf.Runner(add_cmdline_args=pass_on)
    runner.argparser.add_argument("--backend", choices=installed(), default="mio")
    runner.argparser.add_argument("--rows", default=",".join(GOES))
    given = runner.parse_args()
    for row in chosen(given.rows):
        runner.bench_time_func(row, seconds_for, given.backend, row, inner_loops=GOES[row][1])


if __name__ == "__main__":
    main()
