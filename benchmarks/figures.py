"""Make the figures and tables of the documentation: `python -m benchmarks.figures [ROW ...]`.

It runs `anyio-mio bench`, `benchmarks.asgi` and `benchmarks.curves`, and writes the tables of
README.md and, to docs/figures/:

    rows.json, rows.svg     every row on every backend
    rows.md                 the same as tables, to be included by pages
    asgi.json               requests to web applications, on several servers
    curves.json, NAME.svg   how costs grow

Use a machine that does nothing else; it takes about half an hour. With names of rows or groups it
measures only these, and replaces them in rows.json; `asgi` and `curves` are names too. `--quick`
makes worthless figures in two minutes, to test that everything works.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import front_page
from benchmarks.plot import bar_chart

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
FEW = ["--rounds", "1", "--seconds", "0.1"]
UNITS = {"cpu_us": "", "bytes": " bytes"}
NO_BREAK = "\N{NO-BREAK SPACE}"


def run(module: str, *arguments: str) -> None:
    """Run a module of the checkout."""
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=True)


def chart(document: dict[str, Any]) -> str:
    """Return a chart of the compared figures, as multiples of the first backend's."""
    bars = [(name, multiples(row)) for name, row in document["rows"].items()]
    first = next(iter(next(iter(document["rows"].values()))["backends"]))
    title = f"Cost of an operation, as a multiple of {first}'s (shorter is better)"
    return bar_chart(title, [(name, values) for name, values in bars if values])


def multiples(row: dict[str, Any]) -> dict[str, float]:
    """Return the cost of each backend as a multiple of the first one's."""
    figure = row["compared_by"]
    medians = {name: each["median"].get(figure) for name, each in row["backends"].items()}
    first = next(iter(medians.values()))
    return {name: value / first for name, value in medians.items() if value and first}


def tables(document: dict[str, Any]) -> str:
    """Return the rows as Markdown: the machine, the costs of operations, and system calls."""
    machine, options = document["machine"], document["options"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    rows = document["rows"]
    costs = {f"{name}: {row['what']}": costs_of(row) for name, row in rows.items()}
    calls = {name: calls_of(row) for name, row in rows.items()}
    return (
        f"{machine['processor']}, {machine['processors']} processors, {machine['system']},\n"
        f"{machine['python']}, {versions}. Medians of {options['rounds']} rounds of\n"
        f"{options['seconds']:g} s; in brackets how far the rounds lie apart.\n\n"
        + table("CPU time of the server, µs", next(iter(costs.values())), costs)
        + "\n"
        + table("system calls for each operation", next(iter(costs.values())), calls)
        + "\n"
        + table("rate in 1/s; p50, p95, p99 in ms", next(iter(costs.values())), rates(rows))
    )


def rates(rows: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the rates of the rows with a load, and the times of their round trips."""
    return {
        name: {backend: rate(each["median"]) for backend, each in row["backends"].items()}
        for name, row in rows.items()
    }


def rate(median: dict[str, float]) -> str:
    """Return the rate of one backend in one row; empty if no round trips were timed."""
    if "p95_us" not in median:
        return ""
    times = (f"{median[name] / 1000:.2f}" for name in ("p50_us", "p95_us", "p99_us"))
    return f"{median['rate']:,.0f}; {', '.join(times)}".replace(" ", NO_BREAK)


def table(title: str, backends: dict[str, str], rows: dict[str, dict[str, str]]) -> str:
    """Return one table, without the rows that have no figure."""
    lines = [f"| {title} | {' | '.join(backends)} |", f"|---|{'--:|' * len(backends)}"]
    lines += [
        f"| {name} | {' | '.join(row.values())} |"
        for name, row in rows.items()
        if any(row.values())
    ]
    return "\n".join(lines) + "\n"


def costs_of(row: dict[str, Any]) -> dict[str, str]:
    """Return the compared figures of a row, by backend."""
    return {name: cost(each, row["compared_by"]) for name, each in row["backends"].items()}


def cost(measured: dict[str, Any], figure: str) -> str:
    """One backend in one row."""
    median = measured["median"].get(figure)
    if median is None:
        return measured["problem"] or "–"
    text = f"{median:,.0f}" if median >= 100 else f"{median:.1f}"
    return f"{text}{UNITS[figure]} ({measured['spread'][figure]:.0%})".replace(" ", NO_BREAK)


def calls_of(row: dict[str, Any]) -> dict[str, str]:
    """Return the system calls of a row, by backend; empty if they were not counted."""
    counts = {name: sum(each["system_calls"].values()) for name, each in row["backends"].items()}
    return {name: f"{count:.2f}" if count else "" for name, count in counts.items()}


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the new document with the old rows that were not measured again, in order."""
    order = [*old["rows"], *(name for name in new["rows"] if name not in old["rows"])]
    return {**new, "rows": {name: new["rows"].get(name) or old["rows"][name] for name in order}}


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="ROW", help="rows or groups, asgi, or curves")
    parser.add_argument("--quick", action="store_true", help="make worthless figures")
    given = parser.parse_args()
    quick, names = given.quick, given.names
    FIGURES.mkdir(exist_ok=True)
    if names not in (["curves"], ["asgi"]):
        make_rows(names, quick)
    if names in ([], ["asgi"]):
        make_applications(quick)
    if names in ([], ["curves"]):
        few = [*FEW, "--most", "1000"] if quick else []
        run("benchmarks.curves", "--out", str(FIGURES), *few)
    front_page.main()


def make_applications(quick: bool) -> None:
    """Measure requests to each application on each server."""
    medians = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "medians.json"
        for name in front_page.SHOWN_APPLICATIONS:
            servers = ",".join(front_page.SERVERS)
            chosen = ["--application", name, "--servers", servers, "--json", str(file)]
            run("benchmarks.asgi", *chosen, *(FEW if quick else []))
            medians[name] = json.loads(file.read_text(encoding="utf-8"))
    document = {"commit": commit(), "applications": medians}
    place = FIGURES / "asgi.json"
    place.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def commit() -> str:
    """The commit that is measured."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def make_rows(names: list[str], quick: bool) -> None:
    """Measure these rows, or all; write the file, the tables and the chart."""
    rows = FIGURES / "rows.json"
    old = json.loads(rows.read_text(encoding="utf-8")) if names else {"rows": {}}
    run("anyio_mio", "bench", *names, "--json", str(rows), *(FEW if quick else ["--rounds", "5"]))
    new = json.loads(rows.read_text(encoding="utf-8"))
    for row in new["rows"].values():
        row["commit"] = commit()
    document = merge(old, new)
    rows.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (FIGURES / "rows.md").write_text(tables(document), encoding="utf-8")
    (FIGURES / "rows.svg").write_text(chart(document), encoding="utf-8")


if __name__ == "__main__":
    main()
