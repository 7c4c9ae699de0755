"""`anyio-mio top`: what it draws, what its keys do, and a walk under a pseudo-terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console, RenderableType

from anyio_mio.cli.group import group
from anyio_mio.cli.top import show_tasks
from anyio_mio.cli.top_screen import SMALLEST, Screen, draw, sort_samples
from anyio_mio.console.protocol import tree_to_json
from anyio_mio.console.server import ConsoleServer
from anyio_mio.console.watching import Sample, WatchedConsoles, accepts_per_wakeup, rates_between
from anyio_mio.lowlevel import StackFrame, TaskState, TaskTree
from tests.supervisor.command import connect, port_of, serving

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

LISTENER = {
    "address": "TCP 127.0.0.1:8000",
    "accepted": 130,
    "accepts_per_wakeup": {"1": 2, "64": 2},
    "aborted": 0,
    "backed_off": 3,
    "shed": 0,
    "open": 12,
}


def sample(pid: int, **changes: Any) -> Sample:
    stats = {
        "pid": pid,
        "name": f"app{pid}",
        "tasks": pid,
        "runnable": 0,
        "registrations": 5,
        "polls": 100,
        "events": 100,
        "lag": 0.0012,
        "slow_steps": 1,
        "worker_threads": 2,
        "memory": 50 * 2**20,
        "listeners": [LISTENER],
    }
    return Sample({**stats, **changes}, {"polls": 7.0, "events": 8.0, "accepted": 9.0})


def text_of(drawn: RenderableType, width: int = 120) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(drawn)
    console.file.close()
    return console.export_text()


def test_programs_and_listeners_are_drawn_with_their_figures() -> None:
    text = text_of(draw(Screen(), [sample(1), sample(2)], (120, 30)))

    (row,) = [line for line in text.splitlines() if " app2 " in line]
    assert row.split() == ["2", "app2", "2", "0", "5", "7", "8", "1.2", "1", "2", "50"]
    (row, _) = [line for line in text.splitlines() if "TCP 127.0.0.1:8000" in line]
    assert row.split() == ["1", "TCP", "127.0.0.1:8000", "12", "130", "32.5", "0", "3", "0"]


def test_a_program_that_does_not_answer_says_why() -> None:
    gone = replace(sample(1), error="the program has ended")

    assert "the program has ended" in text_of(draw(Screen(), [gone, Sample()], (120, 30)))


def test_a_narrow_terminal_gets_the_columns_that_fit() -> None:
    text = text_of(draw(Screen(), [sample(1), Sample()], (40, 30)), 40)

    (row,) = [line for line in text.splitlines() if " app1 " in line]
    assert row.split() == ["1", "app1", "1", "7", "1.2"]
    (row,) = [line for line in text.splitlines() if "TCP 127.0.0.1:8000" in line]
    assert row.split() == ["1", "TCP", "127.0.0.1:8000", "12", "130"]


@pytest.mark.parametrize("width", [60, 80, 96, 120])
def test_a_long_name_is_cut_and_figures_are_not(width: int) -> None:
    long = sample(1234567, name="a_module_with_a_long_name:" + "x" * 200)
    text = text_of(draw(Screen(), [long], (width, 30)), width)

    header, row = text.splitlines()[1:3]
    assert row.split()[0] == "1234567"
    assert "lag ms" in header
    assert "1,234,567" in row.split()
    assert ("…" in header, row.count("…")) == (False, 1)


def test_a_terminal_that_is_too_small_is_told_so() -> None:
    assert "too small" in text_of(draw(Screen(), [], (SMALLEST[0] - 1, 30)))


def test_keys_sort_and_filter_the_programs() -> None:
    screen = Screen()
    samples = [sample(1), sample(3), sample(2)]
    assert [s.stats["pid"] for s in sort_samples(screen, samples)] == [1, 2, 3]

    screen.press("s")
    assert [s.stats["pid"] for s in sort_samples(screen, samples)] == [3, 2, 1]

    for key in ("/", "a", "x", "backspace", "p", "p", "2", "enter"):
        screen.press(key)
    assert [s.stats["pid"] for s in sort_samples(screen, samples)] == [2]


def test_keys_lead_to_the_tasks_to_a_stack_and_back() -> None:
    stack = (StackFrame(__file__, 1, "work"),)
    tasks = (
        TaskState(1, None, "first", "mio", "parked", waits_for="an event to be set"),
        TaskState(2, 1, "second", "mio", "parked", waits_for="sleep", stack=stack),
    )
    screen = Screen()
    assert screen.press("t") == "tasks"
    screen.view, screen.tree = "tasks", TaskTree(tasks, ("a sentence",))
    text = text_of(draw(screen, [], (120, 30)))
    assert "an event to be set" in text
    assert "DEADLOCK: a sentence" in text

    screen.press("down")
    screen.press("enter")
    assert f"{__file__}:1 work" in text_of(draw(screen, [], (200, 30)), 200)
    screen.press("esc")
    assert screen.view == "tasks"
    screen.press("esc")
    assert screen.view == "programs"
    assert screen.press("q") == "quit"


def test_a_selection_beyond_the_last_row_stays_on_the_last() -> None:
    screen = Screen(selected=99)
    draw(screen, [sample(1), sample(2)], (120, 30))

    assert screen.selected == 1


def test_where_the_words_fit_no_program_there_are_no_tasks_to_show() -> None:
    screen = Screen(words="no such program", selected=3)
    show_tasks(screen, [], [sample(1)])

    assert screen.view == "programs"


@pytest.mark.skipif(sys.platform == "win32", reason="no UNIX sockets")
def test_the_same_key_asks_for_the_tasks_once_more(tmp_path: Path) -> None:
    names = ["first"]

    def tree() -> dict[str, Any]:
        tasks = [TaskState(n, None, name, "mio", "runnable") for n, name in enumerate(names)]
        return tree_to_json(TaskTree(tuple(tasks)), is_stuck=False)

    answers = {"stats": lambda: sample(1).stats, "tree": tree}
    screen = Screen()
    with ConsoleServer(f"{tmp_path}/1.sock", answers):
        watched = WatchedConsoles(str(tmp_path), 0.01)
        consoles = watched.look_again()
        assert screen.press("t") == "tasks"
        show_tasks(screen, consoles, [each.sample for each in consoles])
        screen.press("down")
        names.append("second")
        assert screen.press("t") == "tasks"
        show_tasks(screen, [], [])
        watched.close()

    assert (screen.view, screen.selected) == ("tasks", 1)
    assert [task.name for task in screen.tree.tasks] == names
    show_tasks(screen, [], [])
    assert "No such file" in screen.message
    assert len(screen.tree.tasks) == 2


def test_consoles_in_a_directory_are_watched_as_they_come_and_go(tmp_path: Path) -> None:
    def watched() -> list[str]:
        time.sleep(0.01)
        return [each.path.name for each in consoles.look_again()]

    answers = {"stats": lambda: sample(1).stats}
    with ConsoleServer(f"{tmp_path}/1.sock", answers):
        consoles = WatchedConsoles(str(tmp_path), 0.01)
        assert watched() == ["1.sock"]
        second = ConsoleServer(f"{tmp_path}/2.sock", answers).__enter__()
        assert watched() == ["1.sock", "2.sock"]
    assert watched() == ["2.sock"]
    second.close()
    assert watched() == ["2.sock"]  # its row says that it has ended
    consoles.close()


def test_rates_are_what_a_second_brought() -> None:
    before, after = sample(1).stats, sample(1, polls=300, events=101).stats

    assert rates_between(before, after, 2.0) == {"polls": 100.0, "events": 0.5, "accepted": 0.0}


def test_accepts_for_each_wake_up_are_an_average() -> None:
    assert accepts_per_wakeup(LISTENER) == 32.5
    assert accepts_per_wakeup({"accepts_per_wakeup": {}}) == 0


def test_without_a_terminal_one_line_says_what_to_use() -> None:
    result = CliRunner().invoke(group, ["top"])

    assert result.exit_code == 1
    assert "anyio-mio stats --json" in result.output


PROGRAM = """
import anyio
async def main():
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(anyio.sleep_forever, name=f"sleeper {number}")
        print("ready", flush=True)
"""


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Path]:
    """A program that runs, and its console."""
    (tmp_path / "sleepers.py").write_text(PROGRAM)
    environment = {
        **os.environ,
        "ANYIO_MIO_CONSOLE": str(tmp_path / "console"),
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}",
    }
    command = [sys.executable, "-m", "anyio_mio", "run", "sleepers:main"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        yield tmp_path / "console"
        program.send_signal(signal.SIGINT)
        program.wait(10)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*forkpty:DeprecationWarning")
def test_under_a_terminal_keys_lead_to_the_tasks_of_a_running_program(console: Path) -> None:
    pid, terminal = start_top(str(console), "--interval", "0.2", COLUMNS="100", LINES="30")
    try:
        assert "sleepers.main" in read_until(terminal, "sleepers.main")
        os.write(terminal, b"t")
        assert "sleep forever" in read_until(terminal, "sleeper 2")
        os.write(terminal, b"/forever\r\r")
        read_until(terminal, "sleeper 0: sleep forever")
        os.write(terminal, b"q")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(terminal)


def read_until(terminal: int, words: str) -> str:
    """What the terminal shows, up to these words; escape sequences are left out."""
    shown, end = "", time.monotonic() + 15
    while words not in shown:
        assert time.monotonic() < end, shown
        shown += ESCAPES.sub("", os.read(terminal, 65536).decode())
    return shown


def start_top(*arguments: str, **environment: str) -> tuple[int, int]:
    """Start the command under a pseudo-terminal; return its pid and the terminal."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", PYTHONPATH=str(Path.cwd()), **environment)
        os.execv(sys.executable, [sys.executable, "-m", "anyio_mio", "top", *arguments])
    return pid, terminal


def last_frame(shown: str) -> list[str]:
    """The last whole drawing: each begins in the upper left corner."""
    frame = ESCAPES.sub("", shown.split("\x1b[H")[-2])
    return [line.rstrip() for line in frame.replace("\r", "").splitlines()]


def shape(lines: list[str]) -> list[list[str]]:
    """The words of each line that is not empty, with a zero for each number."""
    words = [re.sub("[0-9][0-9.,]*", "0", line).split() for line in lines]
    return [each for each in words if each]


def picture_in_the_guide() -> list[str]:
    text = Path("docs/guides/in-production.md").read_text(encoding="utf-8")
    _, _, picture = text.partition("<!-- test: skip: tests/cli/test_top.py compares it -->\n")
    return picture.removeprefix("```text\n").partition("\n```")[0].splitlines()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_the_picture_in_the_guide_is_what_top_draws_of_all_workers(tmp_path: Path) -> None:
    options = ("--bind", "127.0.0.1:0", "--workers", "2", "--console", str(tmp_path / "consoles"))
    with serving("echo", *options) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready", times=2)
        clients = [connect(port) for _ in range(3)]
        folder = str(tmp_path / "consoles")
        pid, terminal = start_top(folder, "--interval", "0.2", COLUMNS="100", LINES="24")
        try:
            shown, end = "", time.monotonic() + 15
            while shown.count("\x1b[H") < 8 or "…" in last_frame(shown):
                assert time.monotonic() < end, shown
                shown += os.read(terminal, 65536).decode()
            os.write(terminal, b"q")
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        finally:
            os.close(terminal)
        for client in clients:
            client.close()

    frame = last_frame(shown)
    assert shape(picture_in_the_guide()) == shape(frame), "\n".join(frame)
