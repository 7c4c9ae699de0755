"""Logs of `anyio-mio serve`: JSON throughout, and never the reason that a server stops."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared.ports import reserved_port

from .command import LIMIT, command, connect, kill, ping, port_of, serving, until, user_module

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

ANY_PORT = ("--bind", "127.0.0.1:0")

F_SETPIPE_SZ = 1031

NOISY = """
import logging, os, sys, threading, warnings

print("printed while it is imported", file=sys.stderr)

async def handler(stream):
    logging.getLogger("app").warning("a %s\\nof two lines", "message")
    warnings.warn("careful")
    os.write(2, b"written\\n")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise ValueError("bug")
"""


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as number:
        yield number


def answers(port: int, *, with_an_echo: bool = True) -> bool:
    try:
        ping(port) if with_an_echo else connect(port).close()
    except OSError:
        return False
    return True


def test_every_line_is_json_with_time_level_logger_and_worker(tmp_path: Path) -> None:
    popen = user_module(tmp_path, NOISY)
    with serving("user_module:handler", *ANY_PORT, **popen) as serve:
        connect(port_of(serve)).close()
        serve.wait_for("written")
        while not serve.wait_for_any("exception").startswith("Traceback"):
            pass
        serve.send(signal.SIGTERM)
        serve.wait_for("stopped")
        assert serve.status() == 0

    lines = serve.seen
    assert all({"time", "level", "logger", "event"} <= set(line) for line in lines)
    by_logger = {line["logger"]: line for line in lines if "worker" in line}
    assert {"app", "py.warnings", "stderr", "anyio_mio.serving", "anyio_mio.worker"} <= set(
        by_logger
    )
    assert by_logger["app"]["event"] == "a message\nof two lines"
    assert by_logger["app"]["worker"] == 1
    assert by_logger["anyio_mio.serving"]["level"] == "error"
    assert "ValueError: bug" in by_logger["anyio_mio.serving"]["exception"]
    assert "ZeroDivisionError" in by_logger["anyio_mio.worker"]["exception"]
    assert "printed while it is imported" in [line["event"] for line in lines]


def test_a_log_that_is_not_read_stops_neither_restarts_nor_the_end(port: int) -> None:
    read, write = os.pipe()
    if sys.platform == "linux":
        fcntl.fcntl(write, F_SETPIPE_SZ, 4096)
    with subprocess.Popen([*command("echo"), "--bind", f"127.0.0.1:{port}"], stderr=write) as serve:
        try:
            until(lambda: answers(port))
            fill(write)
            for worker in children(serve.pid):
                kill(worker)
            until(lambda: answers(port))
            serve.send_signal(signal.SIGHUP)
            serve.terminate()
            assert serve.wait(LIMIT) == 0
        finally:
            serve.kill()
            os.close(read)
            os.close(write)


def fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 64)
    os.set_blocking(pipe, True)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(text) for text in path.read_text().split()]


@pytest.mark.parametrize("descriptors", ["2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
def test_a_log_that_is_absent_or_full_stops_nothing(descriptors: str, port: int) -> None:
    line = " ".join([*command("echo"), "--bind", f"127.0.0.1:{port}", descriptors])
    with subprocess.Popen(["bash", "-c", f"exec {line}"]) as serve:
        try:
            until(lambda: answers(port))
            serve.terminate()
            assert serve.wait(LIMIT) == 0
        finally:
            serve.kill()


def test_a_log_whose_reader_has_gone_stops_nothing(port: int) -> None:
    read, write = os.pipe()
    with subprocess.Popen([*command("echo"), "--bind", f"127.0.0.1:{port}"], stderr=write) as serve:
        os.close(write)
        until(lambda: answers(port))
        os.close(read)
        for worker in children(serve.pid):
            kill(worker)
        until(lambda: answers(port))
        serve.terminate()
        assert serve.wait(LIMIT) == 0


def test_the_live_table_leaves_log_lines_whole_and_the_last_state_readable(
    tmp_path: Path, port: int
) -> None:
    popen = user_module(tmp_path, NOISY + "    # printed above the table\n")
    ours, theirs = pty.openpty()
    line = [*command("user_module:handler"), "--bind", f"127.0.0.1:{port}", "--live"]
    shown: list[bytes] = []

    def read() -> None:
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                return
            if not chunk:
                return
            shown.append(chunk)

    with subprocess.Popen(
        line,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**popen["env"], "TERM": "xterm"},
        cwd=popen["cwd"],
    ) as serve:
        reader = threading.Thread(target=read)
        reader.start()
        try:
            until(lambda: answers(port, with_an_echo=False))
            until(lambda: b"ValueError: bug" in b"".join(shown))
            time.sleep(1.2)  # for the figures of the next second
            serve.terminate()
            assert serve.wait(LIMIT) == 0
        finally:
            serve.kill()
            os.close(theirs)
            reader.join(LIMIT)
            os.close(ours)

    text = b"".join(shown).decode()
    assert 'raise ValueError("bug")' in text
    last = text[text.rindex("accepted") :]
    assert "1" in last
    assert "stopped" in text


def test_what_ends_the_start_is_json_too(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    line = [*command("echo"), "--log-format", "json", "--tls-cert", str(tmp_path / "junk.pem")]
    done = subprocess.run(line, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)

    (only,) = map(json.loads, done.stderr.splitlines())
    assert (only["level"], only["event"], done.returncode) == ("error", "cannot serve", 1)
