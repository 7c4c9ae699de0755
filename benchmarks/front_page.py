"""Write the tables of README.md from the figures of `benchmarks.figures`.

    python -m benchmarks.front_page

`benchmarks.figures` does this at its end. tests/benchmarks/test_front_page.py compares README.md
with the measured files, so each figure in it was measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
ROWS = ROOT / "docs" / "figures" / "rows.json"
APPLICATIONS = ROOT / "docs" / "figures" / "asgi.json"
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"

BACKENDS = {
    "mio": "mio",
    "uvloop": "AnyIO on uvloop",
    "trio": "AnyIO on Trio",
    "asyncio": "AnyIO on asyncio",
}
SERVERS = {
    "mio": "anyio-mio",
    "uvicorn-uvloop": "uvicorn on uvloop",
    "uvicorn-asyncio": "uvicorn on asyncio",
    "anycorn-trio": "anycorn on Trio",
}
SHOWN_ROWS = {
    "echo": "a round trip of 64 bytes, 100 connections",
    "many": "the same, 1,000 connections",
    "churn": "connect, one round trip, close",
}
SHOWN_APPLICATIONS = {
    "raw": "a request to a plain ASGI function",
    "starlette": "a request to Starlette",
    "fastapi": "a request to FastAPI",
}

COMPARED = ("anyio", "trio", "uvloop")

Figures = dict[str, float]


def front_page(rows: dict[str, Any], applications: dict[str, Any]) -> str:
    """Return the tables, and the sentence before them."""
    medians = {
        name: {backend: each["median"] for backend, each in rows["rows"][name]["backends"].items()}
        for name in (*SHOWN_ROWS, "idle")
    }
    machine, measured = rows["machine"], rows["rows"]["echo"].get("commit", "unknown")
    versions = ", ".join(
        f"{name} {version}" for name, version in machine["versions"].items() if name in COMPARED
    )
    system = ".".join(machine["system"].split(".")[:2])
    idle = [f"{medians['idle'][name]['bytes']:,.0f}" for name in BACKENDS]
    return (
        f"Measured at commit {measured} by `python -m benchmarks.figures`, on a virtual machine\n"
        f"({machine['processor']}, {machine['processors']} processors, {system},"
        f" {machine['python']}, {versions}).\nThe server and the load have a processor each."
        f" CPU time of the server, in microseconds:\n\n"
        + table(BACKENDS, SHOWN_ROWS, medians, lambda each: number(each["cpu_us"]))
        + line("bytes for each idle connection", idle)
        + "\nOperations a second; in brackets the 95th and 99th percentile of a round trip, in"
        " milliseconds:\n\n"
        + table(BACKENDS, SHOWN_ROWS, medians, rate)
        + "\nWeb applications, 50 connections. CPU time of the server, in microseconds:\n\n"
        + table(SERVERS, SHOWN_APPLICATIONS, applications["applications"], cpu)
        + "\nRequests a second; in brackets the 95th and 99th percentile, in milliseconds:\n\n"
        + table(SERVERS, SHOWN_APPLICATIONS, applications["applications"], rate)
    )


def table(
    columns: dict[str, str],
    shown: dict[str, str],
    medians: dict[str, dict[str, Figures]],
    cell: Callable[[Figures], str],
) -> str:
    """Return one table: a line for each row, a column for each backend or server."""
    head = line("", list(columns.values())) + f"|---|{'--:|' * len(columns)}\n"
    return head + "".join(
        line(title, [cell(medians[name][column]) for column in columns])
        for name, title in shown.items()
    )


def line(title: str, cells: list[str]) -> str:
    """One line of a table."""
    return f"| {title} | {' | '.join(cells)} |\n"


def number(value: float) -> str:
    """Three digits are enough."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def cpu(each: Figures) -> str:
    """The CPU time of one request."""
    return number(each["cpu_us"])


def rate(each: Figures) -> str:
    """Return a rate and the time of its slowest operations."""
    times = f"{each['p95_us'] / 1000:.1f}, {each['p99_us'] / 1000:.1f}"
    return f"{each['rate']:,.0f} ({times})"


def measured_text() -> str:
    """The tables of the measured files."""
    documents = (json.loads(path.read_text(encoding="utf-8")) for path in (ROWS, APPLICATIONS))
    return front_page(*documents)


def main() -> None:
    """Put them into README.md."""
    head, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    README.write_text(f"{head}{BEGIN}\n{measured_text()}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
