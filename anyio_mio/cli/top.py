"""The command `anyio-mio top`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from anyio_mio.cli.completion import complete_console
from anyio_mio.cli.console import TARGET_HELP
from anyio_mio.cli.top_screen import Screen, draw, sort_samples
from anyio_mio.console.client import NO_UNIX_SOCKETS, ConsoleClient, NoConsole
from anyio_mio.console.rendering import printable
from anyio_mio.console.watching import Sample, WatchedConsole, WatchedConsoles

KEYS = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b": "esc",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
}
ONE_KEY = re.compile("\x1b\\[[A-D]|.|\\n", re.DOTALL)
TENTHS_TO_WAIT = 2
"""Tenths of a second between two looks at the keys, the answers, and the size of the terminal."""

NO_TERMINAL = (
    "top needs a terminal to draw on and to read keys from\n"
    "  right: anyio-mio stats --json   # for programs"
)


@click.command(epilog=TARGET_HELP)
@click.argument("target", required=False, shell_complete=complete_console)
@click.option("--interval", default=1.0, metavar="SECONDS", help="Seconds between two looks.")
def top(target: str | None, interval: float) -> None:
    """Watch running programs.

    It shows their tasks, sockets, polls and listeners; a key shows the stack of a task.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.ClickException(NO_TERMINAL)
    if not interval > 0:
        raise click.BadParameter("seconds, more than 0", param_hint="--interval")
    try:
        consoles = WatchedConsoles(target, interval)
    except NoConsole as error:
        raise click.ClickException(str(error)) from None
    with ExitStack() as stack:
        stack.callback(consoles.close)
        stack.enter_context(single_keys())
        watch(consoles)


def watch(watched: WatchedConsoles) -> None:
    """Draw and take keys until the user quits."""
    screen, console = Screen(), Console()
    drawn: object = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            consoles = watched.look_again()
            samples = [each.sample for each in consoles]  # a thread may replace one at any time
            shown = (samples, replace(screen), console.size)
            if shown != drawn:  # to draw costs more CPU than to ask: 8 ms
                drawn = shown
                live.update(draw(screen, samples, console.size), refresh=True)
            wishes = [screen.press(key) for key in read_keys()]
            if "quit" in wishes:
                return
            if "tasks" in wishes:
                show_tasks(screen, consoles, samples)


def show_tasks(screen: Screen, consoles: list[WatchedConsole], samples: list[Sample]) -> None:
    """Fetch the tasks of the marked program, or those that are shown once more, and show them.

    Args:
        screen: the state of the display.
        consoles: the programs.
        samples: what each of them said when the display was drawn.
    """
    path = marked_console(screen, consoles, samples) if screen.view == "programs" else screen.chosen
    if path is None:
        return
    try:
        with ConsoleClient(path) as client:
            screen.tree, _ = client.tree()
    except NoConsole as error:
        screen.message = printable(str(error))
        return
    if screen.view == "programs":
        screen.view, screen.selected = "tasks", 0
    screen.chosen, screen.message = path, ""


def marked_console(
    screen: Screen, consoles: list[WatchedConsole], samples: list[Sample]
) -> Path | None:
    """Return the console of the marked program; None if the words fit no program."""
    rows = sort_samples(screen, samples)
    if not rows:
        return None
    marked = rows[min(screen.selected, len(rows) - 1)]
    return next(
        console.path for console, each in zip(consoles, samples, strict=True) if each is marked
    )


@contextmanager
def single_keys() -> Iterator[None]:
    """Read keys without waiting for a line, for `TENTHS_TO_WAIT`; undone at the end."""
    if sys.platform == "win32":
        raise click.ClickException(NO_UNIX_SOCKETS)
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    mode = termios.tcgetattr(sys.stdin)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 0, TENTHS_TO_WAIT
    termios.tcsetattr(sys.stdin, termios.TCSANOW, mode)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def read_keys() -> list[str]:
    """Return the keys that were pressed, waiting for the first; see `single_keys()`."""
    try:
        pressed = os.read(sys.stdin.fileno(), 1024).decode(errors="replace")
    except OSError:  # the terminal has gone
        return ["q"]
    return [KEYS.get(key, key) for key in ONE_KEY.findall(pressed)]
