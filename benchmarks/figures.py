"""Makes the figures and tables of the documentation: `python benchmarks/figures.py [--quick]`.

It runs `anyio-mio bench` and `anyio-mio curves`, one after the other, and writes to docs/figures/:

    rows.json, rows.svg     every row on every backend
    rows.md                 the same as a table, to be included by pages
    curves.json, NAME.svg   how costs grow

Use a machine that does nothing else; it takes about half an hour. `--quick` makes worthless figures
in two minutes, to see that all is well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
UNITS = {"cpu_us": "µs of CPU time", "bytes": "bytes"}


def command(*arguments: str) -> None:
    """Run `anyio-mio` from the checkout."""
    subprocess.run([sys.executable, "-m", "anyio_mio", *arguments], cwd=ROOT, check=True)


def table(document: dict[str, Any]) -> str:
    """The rows as a Markdown table, below a line with the machine's facts."""
    machine, options = document["machine"], document["options"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    backends = list(next(iter(document["rows"].values()))["backends"])
    lines = [
        f"{machine['processor']}, {machine['processors']} processors, {machine['system']},",
        f"{machine['python']}, {versions}.",
        f"Medians of {options['rounds']} rounds of {options['seconds']:g} s; in brackets how far",
        "the rounds lie apart, then the system calls for each operation where they were counted.",
        "",
        f"| row | operation | | {' | '.join(backends)} |",
        f"|---|---|---|{'---|' * len(backends)}",
    ]
    for name, row in document["rows"].items():
        cells = [cell(each, row["compared_by"]) for each in row["backends"].values()]
        unit = UNITS[row["compared_by"]]
        lines.append(f"| {name} | {row['what']} | {unit} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(measured: dict[str, Any], figure: str) -> str:
    """One backend in one row."""
    median = measured["median"].get(figure)
    if median is None:
        return measured["problem"] or "–"
    text = f"{median:,.0f}" if median >= 100 else f"{median:.1f}"
    text += f" ({measured['spread'][figure]:.0%})"
    calls = sum(measured["system_calls"].values())
    return f"{text}, {calls:.2f}" if calls else text


def main() -> None:
    """Measure, draw and write."""
    quick = "--quick" in sys.argv[1:]
    FIGURES.mkdir(exist_ok=True)
    rows = FIGURES / "rows.json"
    few = ["--rounds", "1", "--seconds", "0.1"]
    command(
        "bench",
        *("--json", str(rows), "--plot", str(FIGURES / "rows.svg")),
        *(few if quick else ["--rounds", "5"]),
    )
    document = json.loads(rows.read_text(encoding="utf-8"))
    (FIGURES / "rows.md").write_text(table(document), encoding="utf-8")
    command("curves", "--out", str(FIGURES), *([*few, "--most", "1000"] if quick else []))


if __name__ == "__main__":
    main()
