"""The console: what it answers, to whom, and that no client can stop the program."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import anyio_mio
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.run import observers
from anyio_mio.console import observe_runs, tree_on_signal
from anyio_mio.console import observing as observing_module
from anyio_mio.console import pictures as pictures_module
from anyio_mio.console import server as server_module
from anyio_mio.console.client import ConsoleClient, NoConsole, find_consoles
from anyio_mio.console.protocol import ITEMS_PER_PIECE, decode, encode, tree_from_json
from anyio_mio.console.server import ConsoleServer

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets")
pytestmark = needs_unix


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "console"


@pytest.fixture
def observed(path: Path) -> Iterator[Path]:
    before = list(observers)
    observe_runs(str(path))
    yield path
    observers[:] = before


def in_a_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Begin a call in a thread; the result waits for it."""
    box: list[Any] = []
    thread = threading.Thread(target=lambda: box.append(function()), daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(10)
        return box[0]

    return result


def ask_later(path: Path) -> Any:
    time.sleep(0.1)  # until the loop is stuck
    return ask(path, "tree")


def ask(path: Path, question: str) -> Any:
    with ConsoleClient(path) as client:
        return client.ask(question)


def test_a_run_answers_with_its_figures_and_its_tasks(observed: Path) -> None:
    async def main() -> tuple[Any, Any]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever, name="sleeper")
            stats = await anyio.to_thread.run_sync(ask, observed, "stats")
            tree = await anyio.to_thread.run_sync(ask, observed, "tree")
            group.cancel_scope.cancel()
        return stats, tree

    stats, tree = anyio_mio.run(main)

    assert stats["pid"] == os.getpid()
    assert stats["tasks"] >= 2
    assert stats["listeners"][0]["address"].startswith("TCP 127.0.0.1:")
    assert stats["memory"] > 1_000_000
    assert not tree["is_stuck"]
    assert "sleeper" in [task.name for task in tree_from_json(tree).tasks]


def test_a_tree_of_many_tasks_is_taken_in_pieces(
    observed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "TASKS_PER_TURN", 3)

    async def main() -> Any:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(anyio.sleep_forever, name=f"sleeper {number}")
            tree = await anyio.to_thread.run_sync(ask, observed, "tree")
            group.cancel_scope.cancel()
        return tree

    names = [task.name for task in tree_from_json(anyio_mio.run(main)).tasks]

    assert [name for name in names if name.startswith("sleeper")] == [
        f"sleeper {number}" for number in range(20)
    ]


def test_a_stuck_loop_is_looked_at_from_outside(observed: Path) -> None:
    async def main() -> Any:
        answer = in_a_thread(partial(ask_later, observed))
        time.sleep(1)  # noqa: ASYNC251 - this is what the test is about
        return answer()

    tree = anyio_mio.run(main)
    (running,) = [t for t in tree_from_json(tree).tasks if t.state == "running"]

    assert tree["is_stuck"]
    assert running.stack[-1].file == __file__


def test_the_socket_is_the_users_alone_and_goes_with_the_run(observed: Path) -> None:
    async def main() -> int:
        return os.stat(observed).st_mode

    mode = anyio_mio.run(main)

    assert stat.S_IMODE(mode) == 0o600
    assert not observed.exists()


def test_in_a_directory_each_run_has_a_socket_of_its_own(tmp_path: Path) -> None:
    before = list(observers)
    observe_runs(f"{tmp_path}/consoles/")
    try:

        async def main() -> list[Path]:
            return find_consoles(f"{tmp_path}/consoles")

        found = anyio_mio.run(main)
    finally:
        observers[:] = before

    assert [each.name for each in found] == [f"{os.getpid()}.sock"]


def test_a_console_that_runs_is_not_replaced(
    observed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ConsoleServer(str(observed), {"stats": lambda: "the first"}):
        anyio_mio.run(anyio.sleep, 0)

        assert ask(observed, "stats") == "the first"
    assert "the console of a program that runs" in caplog.text


def test_the_file_of_a_console_that_ended_is_replaced(path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    with ConsoleServer(str(path), {"stats": lambda: 1}):
        assert ask(path, "stats") == 1


@pytest.mark.parametrize(
    "line, words",
    [
        (b"GET / HTTP/1.1\r\n", "no JSON"),
        (b"[1]\n", "named no version"),
        (b'{"version": 7, "ask": "stats"}\n', "version 7 is not known"),
        (b'{"version": 1}\n', "without 'ask'"),
        (b'{"version": 1, "ask": "secrets"}\n', "ask for one of stats"),
        (b'{"version": 1, "ask": ["stats"]}\n', "ask for one of stats"),
        (b"x" * 5000 + b"\n", "no JSON"),
    ],
)
def test_what_is_no_request_gets_one_line_that_says_why(
    path: Path, line: bytes, words: str
) -> None:
    with ConsoleServer(str(path), {"stats": lambda: 1}), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(line)
        answer = json.loads(peer.makefile().readline())

    assert words in answer["error"]


def test_an_answer_that_fails_is_an_error_of_the_console(path: Path) -> None:
    with (
        ConsoleServer(str(path), {"stats": lambda: 1 / 0}),
        pytest.raises(NoConsole, match="ZeroDivisionError"),
    ):
        ask(path, "stats")


def test_a_client_that_does_not_read_loses_its_connection_and_stops_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SECONDS_TO_READ", 0.1)
    answers = {"tree": lambda: "x" * 2_000_000, "stats": lambda: 1}
    with ConsoleServer(str(path), answers), socket.socket(socket.AF_UNIX) as lazy:
        lazy.connect(str(path))
        lazy.sendall(b'{"version": 1, "ask": "tree"}\n')

        assert ask(path, "stats") == 1
        lazy.settimeout(20)
        time.sleep(0.3)
        received = 0
        while data := lazy.recv(1 << 20):
            received += len(data)
    assert received < 2_000_000


def test_more_clients_than_there_is_room_for_are_told_so(path: Path) -> None:
    with ConsoleServer(str(path), {"stats": lambda: 1}):
        clients = [ConsoleClient(path) for _ in range(server_module.MOST_CLIENTS)]
        for client in clients:
            assert client.ask("stats") == 1

        with pytest.raises(NoConsole, match=r"clients are connected already|Broken pipe"):
            ask(path, "stats")
        for client in clients:
            client.close()


def test_an_old_client_meets_a_newer_console(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        client = ConsoleClient(path)
        peer, _ = listener.accept()
        peer.sendall(b'{"version": 2, "answer": {}}\n')
        with client, pytest.raises(NoConsole, match="version 2 is not known"):
            client.ask("stats")
        peer.close()


ANSWERS: list[Any] = [None, 5, [], {}, {"tasks": 5}, {"tasks": [{}], "deadlocks": []}]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("question", ["stats", "tree"])
def test_an_answer_that_is_not_understood_is_one_line(
    path: Path, question: str, answer: Any
) -> None:
    with (
        ConsoleServer(str(path), {question: lambda: answer}),
        ConsoleClient(path) as client,
        pytest.raises(NoConsole, match=r"this answer (is no|has not)"),
    ):
        getattr(client, question)()


def test_the_answers_of_a_run_are_understood(observed: Path) -> None:
    async def main() -> tuple[dict[str, Any], bool]:
        def look() -> tuple[dict[str, Any], bool]:
            with ConsoleClient(observed) as client:
                return client.stats(), client.tree()[1]

        async with await anyio.create_tcp_listener(local_host="127.0.0.1"):
            return await anyio.to_thread.run_sync(look)

    stats, is_stuck = anyio_mio.run(main)

    assert len(stats["listeners"]) == 1
    assert not is_stuck


def test_half_a_request_has_a_limit_and_an_idle_client_has_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SECONDS_TO_READ", 0.1)
    with (
        ConsoleServer(str(path), {"stats": lambda: 1}),
        ConsoleClient(path) as idle,
        socket.socket(socket.AF_UNIX) as half,
    ):
        half.connect(str(path))
        half.sendall(b'{"version": 1')
        half.settimeout(10)
        assert half.recv(100) == b""
        assert idle.ask("stats") == 1


def test_requests_that_come_at_once_are_answered_one_by_one(path: Path) -> None:
    with ConsoleServer(str(path), {"stats": lambda: 1}), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(encode("ask", "stats") * 3)
        with peer.makefile("rb") as lines:
            assert [lines.readline() for _ in range(3)] == [encode("answer", 1)] * 3


def test_two_hundred_clients_that_vanish_leave_room_for_the_next(path: Path) -> None:
    with ConsoleServer(str(path), {"stats": lambda: "x" * 100_000}):
        for number in range(200):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(10)
                with suppress(OSError):
                    peer.connect(str(path))
                    if number % 2:
                        peer.sendall(encode("ask", "stats"))
        end = time.monotonic() + 10
        while True:
            try:
                assert len(ask(path, "stats")) == 100_000
            except NoConsole:  # the last of them are still there
                assert time.monotonic() < end
            else:
                break


def test_polls_are_counted_from_the_start_and_cost_no_instrument(observed: Path) -> None:
    async def main() -> tuple[int, int, int]:
        for _ in range(10):
            await anyio.sleep(0.001)
        first = await anyio.to_thread.run_sync(ask, observed, "stats")
        second = await anyio.to_thread.run_sync(ask, observed, "stats")
        return first["polls"], second["polls"], len(running_kernel().instruments)

    first, second, instruments = anyio_mio.run(main)

    assert 10 <= first < second
    assert instruments == 0


FORKS = """
import os, sys, time
from anyio_mio.console.server import ConsoleServer
with ConsoleServer(sys.argv[1], {}):
    if not os.fork():
        print("ready", flush=True)  # the child, which has closed what it inherited
    time.sleep(30)
"""


def test_in_a_directory_the_sockets_of_killed_processes_are_removed(tmp_path: Path) -> None:
    kept = {f"{os.getpid()}-7.sock", "99999999-2.txt", "mine.sock", "99999997.sock"}
    gone = {"99999999.sock", "99999999-2.sock"}
    with ExitStack() as stack:
        for name in (kept | gone) - {"99999997.sock", "99999999-2.txt"}:
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(f"{tmp_path}/{name}")
        (tmp_path / "99999999-2.txt").touch()
        stack.enter_context(ConsoleServer(f"{tmp_path}/99999997.sock", {}))  # of a container

        path = observing_module.free_path(f"{tmp_path}/")

        assert Path(path).name == f"{os.getpid()}.sock"
        assert {each.name for each in tmp_path.iterdir()} == kept


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_that_outlives_a_killed_program_keeps_no_client_waiting(path: Path) -> None:
    command = [sys.executable, "-c", FORKS, str(path)]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, **options) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        program.kill()
        program.wait()
        try:
            with pytest.raises(NoConsole, match="has ended"):
                ConsoleClient(path)
        finally:
            os.killpg(program.pid, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_that_ends_in_good_order_leaves_the_console_to_its_parent(path: Path) -> None:
    with ConsoleServer(str(path), {"stats": lambda: 1}) as server:
        pid = os.fork()
        if not pid:
            server.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert ask(path, "stats") == 1


@pytest.mark.parametrize("target", ["²", "٣", "99999999999999999999", "0x1", "x" * 300, "a\0b"])
def test_a_target_that_can_be_none_is_one_line(target: str) -> None:
    with pytest.raises(NoConsole):
        find_consoles(target)


CHILD = """
import os, sys, time
from anyio_mio.console.server import ConsoleServer
with ConsoleServer(f"{sys.argv[1]}/{os.getpid()}.sock", {"stats": lambda: 1}):
    print("ready", flush=True)
    time.sleep(30)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_process_stands_for_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "anyio_mio"
    folder.mkdir()
    (folder / "not a process.sock").touch()
    command = [sys.executable, "-c", CHILD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            path = folder / f"{child.pid}.sock"
            with ConsoleServer(f"{folder}/{os.getpid()}.sock", {}):
                own = folder / f"{os.getpid()}.sock"
                assert find_consoles(str(os.getpid())) == sorted([own, path])
            assert find_consoles(str(os.getpid())) == [path]
            assert find_consoles(str(child.pid)) == [path]
        finally:
            child.kill()
    with pytest.raises(NoConsole, match="has no console in"):
        find_consoles(str(os.getpid()))


def test_targets_that_have_no_console_are_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    dead = tmp_path / "dead"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(dead))
    sock.close()
    empty = tmp_path / "empty"
    empty.mkdir()

    for target, words in [
        ("99999999", "there is no process"),
        (str(os.getpid()), "has no console"),
        (str(tmp_path / "missing"), "no console at"),
        (str(plain), "is no socket"),
        (str(empty), "no console in"),
    ]:
        with pytest.raises(NoConsole, match=words):
            find_consoles(target)
    with pytest.raises(NoConsole, match="has ended"):
        ConsoleClient(dead)


PROGRAM = """
import sys, time, anyio
async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever, name="sleeper")
        await anyio.sleep(0.05)
        print("ready", flush=True)
        time.sleep(2)
        group.cancel_scope.cancel()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1")
def test_a_signal_prints_the_tree_also_while_the_loop_is_stuck(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "anyio_mio", "run", "stuck:main"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.3)  # until it sleeps
        program.send_signal(signal.SIGUSR1)
        _, errors = program.communicate(timeout=20)

    assert program.returncode == 0
    assert "'sleeper', waits: sleep forever" in errors
    assert "time.sleep(2)" in errors


FLOODED = """
import os, signal, sys, threading, time, anyio
async def main():
    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(anyio.sleep_forever, name=f"sleeper {number}")
        await anyio.sleep(0.05)
        print("ready", flush=True)
        await anyio.sleep(2)
        group.cancel_scope.cancel()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1")
def test_a_flood_of_signals_prints_whole_trees_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "flooded.py").write_text(FLOODED)
    command = [sys.executable, "-m", "anyio_mio", "run", "flooded:main"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    with (
        (tmp_path / "errors").open("w") as errors,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as program,
    ):
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        for _ in range(5000):
            program.send_signal(signal.SIGUSR1)
        assert program.wait(30) == 0

    lines = (tmp_path / "errors").read_text().splitlines()
    trees = sum(line == "301 tasks" for line in lines)
    assert trees >= 1
    assert sum("'sleeper 299'," in line for line in lines) == trees
    assert not any("Traceback" in line for line in lines)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1")
def test_where_mio_runs_nothing_the_signal_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with tree_on_signal():
        signal.raise_signal(signal.SIGUSR1)

    assert "mio runs nothing in this process" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes always block here")
def test_a_standard_error_that_takes_nothing_stops_no_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observing_module, "SECONDS_TO_WRITE", 0.05)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(reading, "rb"), open(writing, "w") as errors:
        monkeypatch.setattr(sys, "__stderr__", errors)
        monkeypatch.setattr(observing_module, "render_trees", lambda: "x" * 1_000_000)
        observing_module.print_trees()


def test_a_standard_error_that_is_closed_stops_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w") as errors:
        pass
    monkeypatch.setattr(sys, "__stderr__", errors)

    observing_module.print_trees()


def test_a_program_that_is_not_asked_for_it_does_not_load_the_console() -> None:
    program = "import sys, anyio, anyio_mio; anyio_mio.run(anyio.sleep, 0); print(*sys.modules)"
    environment = {k: v for k, v in os.environ.items() if k != "ANYIO_MIO_CONSOLE"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert "anyio_mio.console" not in done.stdout.split()


def test_the_variable_opens_a_console(path: Path) -> None:
    program = "import os, anyio_mio\nasync def main(): print(os.path.exists(os.sys.argv[1]))\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}anyio_mio.run(main)", str(path)],
        env={**os.environ, "ANYIO_MIO_CONSOLE": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("True\n", "")


def test_an_answer_is_the_json_of_one_call_although_it_is_made_in_pieces() -> None:
    many = [{"a": [1, {"b": None}]}, {}] * ITEMS_PER_PIECE
    answer = {"tasks": many, "none": [], "deadlocks": ["ü\n"], "n": 1.5, "o": {"p": 1}}

    line = encode("answer", answer)

    assert line.endswith(b"\n")
    assert decode(line, "answer") == answer


def test_the_collector_pauses_and_threads_switch_sooner_while_any_answer_is_made() -> None:
    courtesy, before = server_module.Courtesy(), sys.getswitchinterval()
    with courtesy:
        with courtesy:
            pass
        assert not gc.isenabled()
        assert sys.getswitchinterval() == pytest.approx(server_module.SWITCH_INTERVAL)
    assert gc.isenabled()
    assert sys.getswitchinterval() == before

    gc.disable()
    sys.setswitchinterval(0.0005)
    try:
        with courtesy:
            assert sys.getswitchinterval() == pytest.approx(0.0005)
        assert not gc.isenabled()
    finally:
        gc.enable()
        sys.setswitchinterval(before)
