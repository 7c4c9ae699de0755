"""`anyio-mio serve` where things go wrong: crashes, reloads, lost supervisors, clashes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .command import LIMIT, Serve, command, connect, kill, ping, port_of, serving, user_module

pytestmark = pytest.mark.slow

ANY_PORT = ("--bind", "127.0.0.1:0")

FORKS = """
import os

if os.fork() == 0:
    os.close(2)
    os.read(0, 1)  # until the test ends
    os._exit(0)

async def handler(stream):
    await stream.send(await stream.receive())
"""


def started_and_gone(serve: Serve) -> tuple[int, int]:
    """How many workers the log saw start, and stop by order."""
    events = [line["event"] for line in serve.seen]
    return events.count("worker started"), events.count("worker stopped")


def echo_once(client: socket.socket) -> None:
    client.sendall(b"ping")
    assert client.recv(4) == b"ping"


def refused(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # the listener was closed in the middle of it: the next will be
        return False
    return False


def test_a_sighup_during_a_reload_asks_for_one_more_and_leaves_no_worker_behind() -> None:
    with serving("echo", *ANY_PORT, "--workers", "2") as serve:
        serve.wait_for("worker ready", times=2)
        serve.send(signal.SIGHUP)
        serve.wait_for("reloading")
        serve.send(signal.SIGHUP)
        serve.wait_for("reloaded", times=2)

        assert started_and_gone(serve) == (6, 4)


def test_a_reload_that_fills_the_place_of_a_crashed_worker_leaves_no_second_one_there() -> None:
    with serving("echo", *ANY_PORT) as serve:
        for _ in range(3):  # the next restart is 0.4 s away
            kill(serve.wait_for("worker ready")["pid"])
        serve.wait_for("worker crashed")
        serve.send(signal.SIGHUP)
        serve.wait_for("reloaded")
        kill([line for line in serve.seen if line["event"] == "worker ready"][-1]["pid"])
        crashed = serve.wait_for("worker crashed")
        serve.wait_for("worker ready")

    events = [line["event"] for line in serve.seen[serve.seen.index(crashed) :]]
    assert events.count("worker started") == 1


def test_a_failed_reload_says_why_and_the_old_worker_goes_on(tmp_path: Path) -> None:
    popen = user_module(tmp_path, "from anyio_mio._supervisor.handlers import echo as handler\n")
    with serving("user_module:handler", *ANY_PORT, **popen) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        user_module(
            tmp_path, "raise ValueError('half\\nedited')  # a longer file than before\n" * 9
        )
        serve.send(signal.SIGHUP)
        failed = serve.wait_for("reload failed, the old worker goes on")
        ping(port)

    assert failed["error"].startswith("ValueError: half")
    assert failed["error"].endswith("user_module.py:1)")


def test_a_service_manager_may_signal_every_process_and_connections_still_finish() -> None:
    with serving("echo", *ANY_PORT) as serve:
        port = port_of(serve)
        worker = serve.wait_for("worker ready")["pid"]
        with connect(port) as client:
            echo_once(client)
            serve.send(signal.SIGTERM)
            serve.wait_for("stopping")
            for _ in range(5):
                os.kill(worker, signal.SIGTERM)
                echo_once(client)
        stopped = serve.wait_for("worker stopped")

        assert serve.status() == 0
    assert (stopped["finished"], stopped["cancelled"]) == (1, 0)


def test_new_clients_are_refused_while_open_connections_finish() -> None:
    with serving("echo", *ANY_PORT, "--grace", "600") as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        with connect(port) as client:
            echo_once(client)
            serve.send(signal.SIGTERM)
            serve.wait_for("stopping")
            deadline = time.monotonic() + LIMIT / 2
            while not refused(port):
                assert time.monotonic() < deadline
            echo_once(client)


def test_workers_stop_when_their_supervisor_was_killed() -> None:
    with serving("echo", *ANY_PORT, "--grace", "0") as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        with connect(port) as client:
            echo_once(client)
            serve.process.kill()

            assert client.recv(1) == b""


def test_a_worker_whose_child_outlives_it_is_restarted(tmp_path: Path) -> None:
    popen = user_module(tmp_path, FORKS)
    with serving("user_module:handler", *ANY_PORT, stdin=subprocess.PIPE, **popen) as serve:
        port = port_of(serve)
        kill(serve.wait_for("worker ready")["pid"])
        serve.wait_for("worker ready")
        ping(port)


def test_a_port_that_another_server_shares_among_its_workers_is_in_use() -> None:
    with serving("echo", *ANY_PORT, "--workers", "2") as first:
        address = f"127.0.0.1:{port_of(first)}"
        with serving("echo", "--bind", address, "--workers", "2") as second:
            assert second.status() == 1
            line = second.wait_for("cannot serve")
            assert line["error"].startswith(
                f"cannot listen on {address}: Address already in use by "
            )


def test_a_path_that_was_made_is_removed_if_another_address_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving("echo", "--bind", f"unix:{path}", "--bind", address) as serve:
            assert serve.status() == 1

    assert not path.exists()


def test_a_server_that_cannot_start_leaves_the_path_of_the_living_one(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with serving("echo", "--bind", f"unix:{path}") as first:
        first.wait_for("worker ready")
        with serving("echo", "--bind", f"unix:{path}") as second:
            assert second.status() == 1
        assert path.exists()


def test_a_path_that_is_too_long_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with serving("echo", "--bind", f"unix:{path}") as serve:
        assert serve.status() == 1
        line = serve.wait_for("cannot serve")
        assert line["error"] == f"cannot listen on unix:{path}: AF_UNIX path too long"


def test_a_target_that_no_worker_can_load_is_said_once(tmp_path: Path) -> None:
    popen = user_module(tmp_path, "import no_such_dependency\n")
    with serving("user_module:handler", *ANY_PORT, "--workers", "3", **popen) as serve:
        assert serve.status() == 1
        serve.wait_for("stopped")

    (line,) = (line for line in serve.seen if "error" in line)
    assert line["error"].startswith("ModuleNotFoundError: No module named 'no_such_dependency'")


def test_a_target_that_is_no_python_is_said_with_the_line_in_question(tmp_path: Path) -> None:
    popen = user_module(tmp_path, "\ndef handler(:\n")
    with serving("user_module:handler", *ANY_PORT, **popen) as serve:
        assert serve.status() == 1
        serve.wait_for("stopped")

    (line,) = (line for line in serve.seen if "error" in line)
    assert line["error"] == f"SyntaxError: invalid syntax ({tmp_path / 'user_module.py'}:2)"


def test_a_certificate_that_is_none_is_said_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "junk.pem"
    path.write_text("junk")
    with serving("echo", *ANY_PORT, "--tls-cert", str(path)) as serve:
        assert serve.status() == 1
        line = serve.wait_for("cannot serve")

    assert line["error"].startswith(f"{path} and {path} are not a certificate and its key: ")


def test_the_plain_log_has_one_line_for_each_event() -> None:
    command = [sys.executable, "-m", "anyio_mio", "serve", "nothing:here", *ANY_PORT]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)

    texts = [line[len("2026-01-31 12:00:00 ") :] for line in done.stderr.splitlines()]
    kinds = ["listening address=", "worker started worker=1 pid=", "cannot serve error=", "stopped"]
    assert [text[: len(kind)] for text, kind in zip(texts, kinds, strict=True)] == kinds
    assert "installed packages; right: run" in texts[2]


def test_serving_is_said_when_every_worker_is_ready() -> None:
    with serving("echo", *ANY_PORT, "--workers", "2") as serve:
        address = serve.wait_for("listening")["address"]
        assert serve.wait_for("serving")["address"] == address

    assert [line["event"] for line in serve.seen].count("worker ready") == 2


@pytest.mark.parametrize("fds", ["1", "99999999"])
def test_a_socket_that_cannot_be_served_is_one_line_and_status_78(fds: str) -> None:
    launcher = (
        "import os, socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.bind(('127.0.0.1', 0)); os.dup2(s.fileno(), 3); os.set_inheritable(3, True);"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[1]);"
        "os.execv(sys.executable, [sys.executable, '-m', 'anyio_mio', 'serve', 'echo'])"
    )
    line = [sys.executable, "-c", launcher, fds]
    done = subprocess.run(line, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)

    assert done.returncode == 78
    (only,) = done.stderr.splitlines()
    assert f"passed {fds} sockets, and descriptor 3 is not a stream socket but SOCK_DGRAM" in only


def test_a_name_that_is_none_is_refused_in_one_line_and_the_usage() -> None:
    line = [*command("echo"), "--bind", "a..b:80"]
    done = subprocess.run(line, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: the host name 'a..b' has no address")


def test_a_limit_of_connections_above_that_of_descriptors_is_said() -> None:
    options = ("--max-connections", "100000000")
    with serving("echo", *ANY_PORT, *options) as serve:
        event = "--max-connections is above the limit of open descriptors (RLIMIT_NOFILE)"
        warning = serve.wait_for(event)

    assert warning["level"] == "warning"
    assert "ulimit -n" in warning["right"]


def test_a_file_of_the_users_does_not_replace_a_module_of_the_library(tmp_path: Path) -> None:
    for name in ("random", "socket", "json", "queue", "anyio_mio"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the file {name}.py was run')\n")
    source = "import queue, random\nfrom anyio_mio._supervisor.handlers import echo as handler\n"
    popen = user_module(tmp_path, source, PYTHONSAFEPATH="1")  # as the installed command is
    with serving("user_module:handler", *ANY_PORT, **popen) as serve:
        ping(port_of(serve))


def test_a_module_named_like_one_of_the_library_gets_a_hint(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("async def handler(stream): ...\n")
    popen = user_module(tmp_path, "", PYTHONSAFEPATH="1")
    with serving("queue:handler", *ANY_PORT, **popen) as serve:
        refused = serve.wait_for("cannot serve")

    assert "a module of Python's own library: give yours another name" in refused["error"]


def test_sigusr1_prints_the_task_tree_of_each_worker() -> None:
    with serving("echo", *ANY_PORT) as serve:
        serve.wait_for("worker ready")
        serve.send(signal.SIGUSR1)
        while "worker 1: echo" not in serve.wait_for_any("event"):
            pass
