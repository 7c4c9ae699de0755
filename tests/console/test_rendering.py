"""The task tree as text: what a program or its client named is shown, and never obeyed."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from anyio_mio.cli.top_screen import Screen, draw
from anyio_mio.console import render_tree
from anyio_mio.console.rendering import DEEPEST, LONGEST, MOST_FRAMES, printable
from anyio_mio.console.watching import Sample
from anyio_mio.lowlevel import StackFrame, TaskState, TaskTree

HOSTILE = "\x1b]0;title\x07\x1b[2J\nDEADLOCK: forged\r\u202e\udc80\x9b31m"
"""A new title, an empty screen, a forged line, text from right to left, no character at all."""

SPELLED = r"\x1b]0;title\x07\x1b[2J\nDEADLOCK: forged\r\u202e\udc80\x9b31m"


def task(number: int, name: str = "a task", **changes: object) -> TaskState:
    state = TaskState(number, None, name, "mio", "parked", waits_for="an event to be set")
    return replace(state, **changes)  # type: ignore[arg-type]


def drawn(screen: Screen, samples: list[Sample], size: tuple[int, int] = (200, 30)) -> str:
    """What goes to the terminal, without the sequences of rich's own."""
    with open(os.devnull, "w") as nowhere:
        console = Console(width=size[0], record=True, file=nowhere)
        picture: RenderableType = draw(screen, samples, size)
        console.print(picture)
        return console.export_text()


def sample(pid: int, name: str = "a run", **changes: object) -> Sample:
    names = ("tasks", "runnable", "registrations", "polls", "events", "lag", "slow_steps")
    stats = dict.fromkeys((*names, "worker_threads", "memory"), 0)
    counts = dict.fromkeys(("accepted", "aborted", "backed_off", "shed", "open"), 0)
    listener = {"address": f"UNIX socket {name}", "accepts_per_wakeup": {}, **counts}
    return Sample({"pid": pid, "name": name, **stats, "listeners": [listener], **changes})


def test_a_text_that_is_printable_stays_as_it_is() -> None:
    assert printable("Ünï 'x' 漢字 [red]") == "Ünï 'x' 漢字 [red]"


def test_what_a_terminal_would_obey_is_spelled() -> None:
    assert printable(HOSTILE) == SPELLED


def test_a_line_has_an_end() -> None:
    assert len(printable("x" * 1_000_000)) == LONGEST + 1


@pytest.mark.parametrize("field", ["name", "waits_for"])
def test_names_in_a_tree_are_shown_and_not_obeyed(field: str) -> None:
    frame = StackFrame(HOSTILE, 1, HOSTILE)
    tree = TaskTree((task(1, **{field: HOSTILE}, stack=(frame,)),), (HOSTILE,))

    text = render_tree(tree)

    assert all(line.isprintable() for line in text.splitlines())
    assert not any(line.startswith("DEADLOCK: forged") for line in text.splitlines())
    assert f"DEADLOCK: {SPELLED}" in text
    text.encode()


@pytest.mark.parametrize("view", ["programs", "tasks", "stack"])
@pytest.mark.parametrize("name", [HOSTILE, "[red]x[/]", "[/]", "x[bold"])
def test_names_in_top_are_shown_and_not_obeyed(view: str, name: str) -> None:
    shown = task(1, name, waits_for=name, stack=(StackFrame(name, 1, name),))
    screen = Screen(view=view, tree=TaskTree((shown,), (name,)))

    text = drawn(screen, [sample(1, name), replace(sample(2), error=name)])

    assert printable(name) in text
    assert all(line.isprintable() for line in text.splitlines())


def test_a_stack_of_a_recursion_is_shown_from_both_ends() -> None:
    stack = tuple(StackFrame("no_file.py", number, "recurse") for number in range(1000))

    lines = render_tree(TaskTree((task(1, stack=stack),))).splitlines()

    assert "    no_file.py:0 recurse" in lines
    assert f"    … {1000 - MOST_FRAMES} frames …" in lines
    assert "    no_file.py:999 recurse" in lines
    assert len(lines) == 2 + MOST_FRAMES + 1


def test_a_chain_of_ten_thousand_tasks_is_not_indented_without_end() -> None:
    chain = tuple(task(number, parent=number - 1 or None) for number in range(1, 10_001))

    lines = render_tree(TaskTree(chain)).splitlines()

    assert len(lines) == 10_001
    assert max(len(line) - len(line.lstrip()) for line in lines) == 4 * DEEPEST


def test_the_children_of_one_task_are_all_shown() -> None:
    children = tuple(task(number, parent=1) for number in range(2, 10_002))

    assert len(render_tree(TaskTree((task(1), *children))).splitlines()) == 10_002


@pytest.mark.parametrize("marked", [0, 31, 63])
def test_of_many_programs_those_around_the_marked_one_are_shown(marked: int) -> None:
    samples = [sample(1000 + number) for number in range(64)]

    text = drawn(Screen(selected=marked), samples, (100, 24)).splitlines()

    assert len(text) == 24
    assert any(line.split()[:1] == [str(1000 + marked)] for line in text)
    assert text[-1].startswith("q quit")
