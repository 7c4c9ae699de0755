"""Shell completion of targets, rows, backends and programs.

It finds targets by reading the files of the current folder. To import them would run the user's
code when the user presses the tab key.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    split_arg_string,
)

from anyio_mio._bench import backends
from anyio_mio._bench.rows import ROWS
from anyio_mio._supervisor.handlers import BUILT_IN

MOST_FILES: Final = 200
"""Files that are read for one press of the tab key; it takes about a millisecond each."""

WITHOUT_PROCESSES: Final = "nt"


def complete_function(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a target of `run`: the async functions of the modules here."""
    return starting_with(incomplete, targets(Path.cwd(), (ast.AsyncFunctionDef,)))


def complete_target(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a target of `serve`: applications, handlers, and the built-in handlers."""
    kinds: tuple[type[ast.stmt], ...] = (ast.AsyncFunctionDef, ast.Assign, ast.AnnAssign)
    if context.params.get("factory"):
        kinds = (ast.FunctionDef,)
    folder = context.params.get("app_dir") or Path.cwd()
    return starting_with(incomplete, chain(targets(Path(folder), kinds), BUILT_IN))


def complete_row(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a row of `bench`, or a group of rows."""
    rows = [CompletionItem(row.name, help=row.what) for row in ROWS]
    groups = [
        CompletionItem(name, help="a group of rows")
        for name in dict.fromkeys(r.group for r in ROWS)
    ]
    return [item for item in (*groups, *rows) if item.value.startswith(incomplete)]


def complete_backends(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the last name of a list with commas."""
    done, comma, _ = incomplete.rpartition(",")
    names = [*backends.installed(), *backends.variants()]
    left = [name for name in names if name not in done.split(",")]
    return starting_with(incomplete, (f"{done}{comma}{name}" for name in left))


def complete_console(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a program with a console: its process, or the path of its socket."""
    if os.name == WITHOUT_PROCESSES:
        return []
    from anyio_mio.console.client import default_directory

    if incomplete and not incomplete.isdigit():
        return [CompletionItem(incomplete, type="file")]
    folder = default_directory()
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return starting_with(incomplete, (each.stem for each in found if each.stem.isdigit()))


def starting_with(incomplete: str, values: Iterable[str]) -> list[CompletionItem]:
    """Return those that begin with what was typed, each once."""
    return [
        CompletionItem(value) for value in dict.fromkeys(values) if value.startswith(incomplete)
    ]


def targets(folder: Path, kinds: tuple[type[ast.stmt], ...]) -> Iterator[str]:
    """Yield ``module:name`` for the names that statements of these kinds make."""
    files = chain(sorted(folder.glob("*.py")), sorted(folder.glob("*/*.py")))
    for path in islice(files, MOST_FILES):
        module = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        if all(part.isidentifier() for part in module.split(".")):
            yield from (f"{module}:{name}" for name in names(path, kinds))


def names(path: Path, kinds: tuple[type[ast.stmt], ...]) -> Iterator[str]:
    """Yield the public names that a file's statements of these kinds make."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return
    for statement in body:
        if isinstance(statement, kinds):
            yield from (name for name in names_of(statement) if not name.startswith("_"))


def names_of(statement: ast.stmt) -> Iterator[str]:
    """Yield what a statement makes: a function, or what a call returned."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(
        statement.value, ast.Call
    ):
        places = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (place.id for place in places if isinstance(place, ast.Name))


@add_completion_class
class Bash(BashComplete):
    """Completion for bash, which cuts a word at each colon.

    click's own reads the words that bash has cut. This one reads the line, and answers with what
    stands behind the last colon, as bash expects.
    """

    source_template = BashComplete.source_template.replace(
        'COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD',
        'COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS"',
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is being typed, and that one."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        self._typed = words.pop() if words and not line[-1:].isspace() else ""
        return words, self._typed

    def format_completion(self, item: CompletionItem) -> str:
        """Leave out what bash has already behind it."""
        value = str(item.value)
        if ":" in self._typed and ":" in os.environ.get("COMP_WORDBREAKS", ":"):
            value = value.removeprefix(self._typed[: self._typed.rindex(":") + 1])
        return f"{item.type},{value}"
