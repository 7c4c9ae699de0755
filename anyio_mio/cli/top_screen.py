"""The screen of `anyio-mio top`: tables of programs, listeners and tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from anyio_mio.console.rendering import printable, render_stack, without_own_end
from anyio_mio.console.watching import Sample, accepts_per_wakeup
from anyio_mio.lowlevel import TaskState, TaskTree

SMALLEST: Final = (40, 12)
"""Columns and lines of the smallest terminal in which the tables can be read."""

NARROW: Final = 96
"""Below so many columns, the tables leave out what is not among the FEW."""

FEW: Final = {"pid", "run", "tasks", "polls/s", "lag ms", "address", "open", "accepted"}

SPACE: Final = 2
"""Columns of the terminal between two columns of a table."""

LEAST_NAME: Final = 6

HEADER: Final = 2
"""Lines of a table's title and of the names of its columns."""

SORTED_BY: Final = ("pid", "tasks", "sockets", "polls/s", "lag", "memory")
KEYS: Final = "q quit   ↑↓ select   s sort   / filter   t tasks   ⏎ stack   esc back"


@dataclass(slots=True)
class Screen:
    """The state of the display.

    Attributes:
        view: ``"programs"``, ``"tasks"`` or ``"stack"``.
        sort: the column that the programs are sorted by.
        words: only rows that contain it are shown.
        is_typing: whether keys go into ``words``.
        selected: the row that is marked, in the view.
        chosen: the console of the program whose tasks are shown; None before the first.
        tree: its tasks, as they were when they were asked for.
        message: one line below the tables.
    """

    view: str = "programs"
    sort: str = "pid"
    words: str = ""
    is_typing: bool = False
    selected: int = 0
    chosen: Path | None = None
    tree: TaskTree = field(default_factory=lambda: TaskTree(()))
    message: str = ""

    def press(self, key: str) -> str | None:
        """Take a key.

        Returns:
            What the caller has to do: ``"quit"``, ``"tasks"``, or None.
        """
        if self.is_typing:
            self._type(key)
            return None
        action = ACTIONS.get(key)
        return None if action is None else action(self)

    def quit(self) -> str:
        """Leave."""
        return "quit"

    def move_down(self) -> None:
        """Mark the next row."""
        self.selected += 1

    def move_up(self) -> None:
        """Mark the row before."""
        self.selected = max(0, self.selected - 1)

    def sort_by_next(self) -> None:
        """Sort the programs by the next column."""
        self.sort = SORTED_BY[(SORTED_BY.index(self.sort) + 1) % len(SORTED_BY)]

    def begin_to_type(self) -> None:
        """Take the keys that follow as words to filter by."""
        self.is_typing, self.words = True, ""

    def go_back(self) -> None:
        """Go from a stack to the tasks, from the tasks to the programs."""
        self.view, self.selected = "tasks" if self.view == "stack" else "programs", 0

    def open_tasks(self) -> str | None:
        """Go from the programs to the tasks of the marked one, or ask for the tasks once more."""
        return None if self.view == "stack" else "tasks"

    def open_marked(self) -> str | None:
        """Open what is marked: a program's tasks, or a task's stack."""
        if self.view == "programs":
            return "tasks"
        self.view = "stack"
        return None

    def _type(self, key: str) -> None:
        if key in ("enter", "esc"):
            self.is_typing = False
        elif key == "backspace":
            self.words = self.words[:-1]
        elif len(key) == 1 and key.isprintable():
            self.words += key

    def matches(self, *texts: object) -> bool:
        """Return whether a row is shown."""
        return any(self.words.lower() in str(text).lower() for text in texts)


ACTIONS: Final[dict[str, Callable[[Screen], str | None]]] = {
    "q": Screen.quit,
    "down": Screen.move_down,
    "j": Screen.move_down,
    "up": Screen.move_up,
    "k": Screen.move_up,
    "s": Screen.sort_by_next,
    "/": Screen.begin_to_type,
    "esc": Screen.go_back,
    "t": Screen.open_tasks,
    "enter": Screen.open_marked,
}
"""What each key does."""


def sort_samples(screen: Screen, samples: list[Sample]) -> list[Sample]:
    """Return the programs in the order, and with the words, that the screen asks for."""
    rows = [s for s in samples if screen.matches(s.stats.get("name", ""), s.stats.get("pid", ""))]
    return sorted(rows, key=lambda s: sort_key(screen.sort, s), reverse=screen.sort != "pid")


def sort_key(column: str, sample: Sample) -> float:
    """Return the figure that a column shows."""
    if column == "polls/s":
        return sample.rates.get("polls", 0.0)
    name = {"sockets": "registrations"}.get(column, column)
    return float(sample.stats.get(name, 0))


def draw(screen: Screen, samples: list[Sample], size: tuple[int, int]) -> RenderableType:
    """Draw the display for a terminal of this size."""
    if size[0] < SMALLEST[0] or size[1] < SMALLEST[1]:
        columns, lines = SMALLEST
        return Text(f"this terminal is too small: {columns} columns and {lines} lines at least")
    bottom = Text(f"/{screen.words}_" if screen.is_typing else screen.message or KEYS, style="dim")
    bottom.no_wrap = True
    room = size[1] - 3
    if screen.view == "programs":
        rows = sort_samples(screen, samples)
        screen.selected = min(screen.selected, max(0, len(rows) - 1))
        return Group(*draw_running(screen, rows, size), bottom)
    tasks = shown_tasks(screen)
    screen.selected = min(screen.selected, max(0, len(tasks) - 1))
    if screen.view == "tasks":
        return Group(draw_tasks(screen, tasks, room), bottom)
    return Group(draw_stack(tasks[screen.selected] if tasks else None, room), bottom)


def draw_running(
    screen: Screen, samples: list[Sample], size: tuple[int, int]
) -> tuple[Table, Table]:
    """Return the programs around the marked one, and their listeners, as far as there is room."""
    room = size[1] - 1 - 2 * HEADER
    listeners = sum(len(sample.stats.get("listeners", ())) for sample in samples)
    shown = min(len(samples), max(room - listeners, room // 2))
    first = window(screen.selected, shown, len(samples))
    return (
        draw_programs(screen, samples, size[0], range(first, first + shown)),
        draw_listeners(samples, size[0], room - shown),
    )


def window(selected: int, room: int, rows: int) -> int:
    """Return the first row to show, so that the marked one is among so many."""
    return max(0, min(selected - room // 2, rows - room))


def make_table(title: str, columns: tuple[str, ...]) -> Table:
    """Return a table of figures without rows."""
    table = Table(title=title, expand=True, title_justify="left", box=None)
    for name in columns:
        justify: JustifyMethod = "left" if name in ("run", "address") else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    return table


def those_that_fit(width: int, columns: tuple[str, ...], cells: list[str]) -> list[str]:
    """Return the cells of the columns that a terminal of this width gets."""
    if width >= NARROW or len(cells) < len(columns):
        return cells
    return [cell for name, cell in zip(columns, cells, strict=True) if name in FEW]


PROGRAMS: Final = (
    *("pid", "run", "tasks", "ready", "sockets", "polls/s", "events/s", "lag ms"),
    *("slow", "threads", "MiB"),
)
LISTENERS: Final = ("pid", "address", "open", "accepted", "per wake-up", "aborted", "waits", "shed")


def draw_programs(screen: Screen, samples: list[Sample], width: int, shown: range) -> Table:
    """Return one row for each run whose number is in ``shown``."""
    columns = those_that_fit(width, PROGRAMS, [*PROGRAMS])
    table = make_table(f"programs, by {screen.sort}", tuple(columns))
    rows = [those_that_fit(width, PROGRAMS, program_cells(sample)) for sample in samples]
    rows = cut_names(columns, rows, width)
    for number in shown:
        sample, row = samples[number], rows[number]
        style = "reverse" if number == screen.selected else ""
        table.add_row(*as_they_are(row), style=f"{style} red" if sample.error else style)
    return table


def cut_names(columns: list[str], rows: list[list[str]], width: int) -> list[list[str]]:
    """Return the rows with names so short that no figure is cut; rows with an error as they are."""
    whole = [row for row in [columns, *rows] if len(row) == len(columns)]
    taken = sum(max(len(row[n]) for row in whole) + SPACE for n in range(len(columns)) if n != 1)
    room = max(width - taken - SPACE, LEAST_NAME)
    return [
        [row[0], cut(row[1], room), *row[2:]] if len(row) == len(columns) else row for row in rows
    ]


def as_they_are(cells: Iterable[str]) -> Iterator[Text]:
    """Yield the cells as texts without markup: ``[red]`` may be a part of a name."""
    return map(Text, cells)


def cut(text: str, room: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= room else f"{text[: room - 1]}…"


def program_cells(sample: Sample) -> list[str]:
    """Return the cells of a program's row."""
    stats, rates = sample.stats, sample.rates
    if sample.error:
        return [str(stats.get("pid", "?")), printable(sample.error)]
    if not stats:
        return ["…"]
    return [
        str(stats["pid"]),
        printable(stats["name"]),
        f"{stats['tasks']:,}",
        f"{stats['runnable']:,}",
        f"{stats['registrations']:,}",
        f"{rates.get('polls', 0):,.0f}",
        f"{rates.get('events', 0):,.0f}",
        f"{stats['lag'] * 1e3:.1f}",
        str(stats["slow_steps"]),
        str(stats["worker_threads"]),
        f"{stats['memory'] / 2**20:.0f}",
    ]


def draw_listeners(samples: list[Sample], width: int, room: int) -> Table:
    """Return one row for each listener of each run, but at most ``room``."""
    table = make_table("listeners", tuple(those_that_fit(width, LISTENERS, [*LISTENERS])))
    for sample in samples:
        for listener in sample.stats.get("listeners", ()):
            if table.row_count == room:
                return table
            cells = listener_cells(sample.stats["pid"], listener)
            table.add_row(*as_they_are(those_that_fit(width, LISTENERS, cells)))
    return table


def listener_cells(pid: int, listener: dict[str, Any]) -> list[str]:
    """Return the cells of a listener's row."""
    counts = (listener["aborted"], listener["backed_off"], listener["shed"])
    return [
        str(pid),
        printable(listener["address"]),
        f"{listener['open']:,}",
        f"{listener['accepted']:,}",
        f"{accepts_per_wakeup(listener):.1f}",
        *(f"{count:,}" for count in counts),
    ]


def shown_tasks(screen: Screen) -> list[TaskState]:
    """Return the tasks of the chosen program that contain the words."""
    return [task for task in screen.tree.tasks if screen.matches(task.name, task.waits_for)]


def draw_tasks(screen: Screen, tasks: list[TaskState], room: int) -> Table:
    """Return one row for each task, around the marked one."""
    title = "; ".join(f"DEADLOCK: {each}" for each in screen.tree.deadlocks) or "tasks"
    table = Table(title=Text(printable(title)), expand=True, title_justify="left", box=None)
    table.add_column("task", no_wrap=True, ratio=1)
    table.add_column("waits for", no_wrap=True, ratio=2)
    first = window(screen.selected, room - HEADER, len(tasks))
    for number, task in enumerate(tasks[first : first + room - HEADER], first):
        style = "reverse" if number == screen.selected else ""
        cells = (printable(task.name), printable(task.waits_for or task.state))
        table.add_row(*as_they_are(cells), style=style)
    return table


def draw_stack(task: TaskState | None, room: int) -> Text:
    """Return the stack of the marked task."""
    if task is None:
        return Text("this task has ended")
    lines = [f"{task.name}: {task.waits_for or task.state}"]
    lines += render_stack(without_own_end(task.stack))
    return Text("\n".join(map(printable, lines[:room])), no_wrap=True)
