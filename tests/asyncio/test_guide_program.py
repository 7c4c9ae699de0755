"""The web application of the guide "asyncio libraries", by copying, with real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.supervisor.command import port_of, serving

for library in ("fastapi", "asyncpg", "redis"):
    pytest.importorskip(library, reason=f"{library} is not installed")

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/guides/asyncio-libraries.md"
FILE = re.compile(
    r"^```\{code-block\} python\n:caption: (\S+)\n\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
SECONDS = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the guide."""
    for name, text in FILE.findall(GUIDE.read_text()):
        (tmp_path / name).write_text(text.replace("port=8000", "port=0"))
    return tmp_path


@pytest.fixture
def environment(postgres: int, redis: int) -> dict[str, str]:
    """The two addresses that the application asks for."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{postgres}/postgres",
        "REDIS_URL": f"redis://127.0.0.1:{redis}/0",
    }


def get(port: int, user: str) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{user}", timeout=SECONDS) as answer:
        found: dict[str, int] = json.load(answer)
    return found


def ask_as_many_users_do(port: int, word: str) -> None:
    """Have 40 requests of 4 users answered at once, and no visit lost."""
    users = [f"{word}{'x' * number}" for number in range(4)] * 10
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda user: (user, get(port, user)), users))
    for user in users[:4]:
        visits = sorted(answer["visits"] for each, answer in answers if each == user)
        assert visits == list(range(1, 11))
    assert all(answer["length"] == len(user) for user, answer in answers)


def test_the_command_serves_it(folder: Path, environment: dict[str, str]) -> None:
    options = ("--bind", "127.0.0.1:0", "--workers", "2")
    with serving("application:app", *options, cwd=folder, env=environment) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready", times=2)
        ask_as_many_users_do(port, "command")
        serve.send(signal.SIGTERM)
        assert serve.status() == 0


def test_a_program_serves_it_beside_other_tasks(folder: Path, environment: dict[str, str]) -> None:
    line = [sys.executable, "program.py"]
    process = subprocess.Popen(
        line,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline().split()[-1])
            ask_as_many_users_do(port, "program")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(SECONDS)
    assert process.returncode == -signal.SIGINT
