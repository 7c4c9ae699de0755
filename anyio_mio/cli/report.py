"""The output of `anyio-mio demo`: a table of the backends, and the accept batches."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from anyio_mio._bench.demo import Measurement
from anyio_mio._bench.protocol import PAYLOAD
from anyio_mio.cli.tables import print_table

BAR_WIDTH: Final = 40

# Each row: what it says, how to read it from a measurement, how to write it, whether it compares.
Row = tuple[str, Callable[[Measurement], float], str, bool]
ROWS: Final[tuple[Row, ...]] = (
    ("connections", lambda m: m.bursts.connections + m.steady.connections, "{:,.0f}", False),
    ("connections / s", lambda m: m.connections_per_second, "{:,.0f}", True),
    ("round trips / s", lambda m: m.round_trips_per_second, "{:,.0f}", True),
    ("p50, µs", lambda m: m.steady.p50_us, "{:,.0f}", True),
    ("p95, µs", lambda m: m.steady.p95_us, "{:,.0f}", True),
    ("p99, µs", lambda m: m.steady.p99_us, "{:,.0f}", True),
    ("server CPU, µs / trip", lambda m: m.cpu_us_per_round_trip, "{:,.1f}", True),
    ("KiB verified", lambda m: m.verified_bytes / 1024, "{:,.0f}", False),
)


def show(console: Console, results: list[Measurement], connections: int) -> None:
    """Print everything there is to see about these measurements."""
    if not results:
        return
    console.print()
    print_table(console, comparison(results, connections))
    for each in results:
        if each.accepts_per_wakeup:
            console.print()
            show_histogram(console, each.backend, each.accepts_per_wakeup)


def comparison(results: list[Measurement], connections: int) -> Table:
    """Return the backends side by side, the first one's figures as multiples of the others'."""
    first = results[0]
    table = Table(
        title=f"{connections} connections at once, {PAYLOAD} bytes a round trip",
        caption=f"×: the figure of {first.backend} divided by this backend's",
        box=box.SIMPLE,
        padding=0,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True)
    for each in results:
        table.add_column(each.backend, justify="right", no_wrap=True, min_width=9)
        if each is not first:
            table.add_column("×", justify="right", style="cyan", no_wrap=True, min_width=5)
    for title, read, form, compares in ROWS:
        cells = [title, form.format(read(first))]
        for each in results[1:]:
            cells.append(form.format(read(each)))
            cells.append(ratio(read(first), read(each)) if compares else "")
        table.add_row(*cells)
    return table


def ratio(ours: float, theirs: float) -> str:
    """Return how many times the other figure ours is."""
    return f"{ours / theirs:.2f}" if theirs else "–"


def show_histogram(console: Console, backend: str, accepts_per_wakeup: dict[int, int]) -> None:
    """Print how many connections the listener took at one wake-up, and how often."""
    wakeups = sum(accepts_per_wakeup.values())
    accepted = sum(size * often for size, often in accepts_per_wakeup.items())
    console.print(
        f"{backend}: {accepted:,} accepts in {wakeups:,} wake-ups of the listener", highlight=False
    )
    table = Table(box=None)
    table.add_column("accepts", justify="right")
    table.add_column("times", justify="right")
    longest = max(8, min(BAR_WIDTH, console.width - 20))
    table.add_column("", width=longest)
    bins = in_powers_of_two(accepts_per_wakeup)
    most = max(bins.values(), default=1)
    for (low, high), often in sorted(bins.items()):
        label = str(low) if low == high else f"{low}–{high}"
        table.add_row(label, f"{often:,}", "█" * max(round(longest * often / most), 1))
    console.print(table)


def in_powers_of_two(accepts_per_wakeup: dict[int, int]) -> dict[tuple[int, int], int]:
    """Gather batch sizes in bins 0, 1, 2–3, 4–7 and so on."""
    bins: Counter[tuple[int, int]] = Counter()
    for size, often in accepts_per_wakeup.items():
        low = 1 << (size.bit_length() - 1) if size else 0
        bins[low, max(2 * low - 1, 0)] += often
    return dict(bins)
