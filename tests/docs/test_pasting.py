"""What is printed can be pasted: into a shell, and into a session of Python.

That each block does what the page says is a test of its own; here is what a block must look like.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from codeop import compile_command
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser

from tests.docs.page import ROOT, caption, directive
from tests.docs.test_examples import NAMES, PAGES

EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)
SHOWN = [ROOT / "benchmarks" / "README.md", *PAGES]


def blocks(path: Path, language: str) -> Iterator[Example]:
    yield from Sybil([CodeBlockParser(language, lambda _: None)]).parse(path).examples()


def commands(path: Path) -> list[str]:
    return [line for block in blocks(path, "console") for line in COMMAND.findall(block.parsed)]


def is_for_a_session(block: Example) -> bool:
    """Whether a block is neither a file nor a server, and is run."""
    return directive(block)[0] not in ("serves", "file", "skip") and not caption(block)


def paste(source: str) -> None:
    """Give a block to Python's session line by line, as Python up to 3.12 reads what is pasted."""
    typed: list[str] = []
    for line in [*source.splitlines(), ""]:
        typed.append(line)
        text = "\n".join(typed) + ("" if line.strip() else "\n")
        if not text.strip() or compile_command(text, symbol="single") is not None:
            typed = []
    assert not typed


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_a_session_takes_each_block_of_python(path: Path) -> None:
    for block in blocks(path, "python"):
        if is_for_a_session(block):
            paste(str(block.parsed))


@pytest.mark.skipif(sys.platform != "linux", reason="the page shows what Linux does")
def test_the_page_on_the_event_loop_runs_in_one_session(tmp_path: Path) -> None:
    page = ROOT / "docs" / "event-loop.md"
    source = "\n".join(str(b.parsed) for b in blocks(page, "python") if is_for_a_session(b))

    done = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=source,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHON_BASIC_REPL": "1"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert "Error" not in done.stderr, done.stderr
    assert "connected: 10 - served: 10" in done.stdout


@pytest.mark.parametrize("path", SHOWN, ids=str)
def test_a_shell_takes_each_command(path: Path) -> None:
    for line in commands(path):
        done = subprocess.run(
            ["bash", "-n", "-c", line], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.parametrize("path", SHOWN, ids=str)
def test_no_command_ends_in_a_comment(path: Path) -> None:
    """zsh takes it for arguments."""
    assert [line for line in commands(path) if re.search(r"\s#\s", line)] == []


@pytest.mark.parametrize("path", SHOWN, ids=str)
def test_nothing_is_installed_from_the_package_index_before_the_first_release(path: Path) -> None:
    installs = [line for line in commands(path) if re.search(r"pip install .*anyio.mio", line)]

    assert [line for line in installs if "./anyio-mio" not in line] == []  # a checkout can work


@pytest.mark.parametrize("path", SHOWN, ids=str)
def test_no_block_imports_what_is_private(path: Path) -> None:
    lines = [line for block in blocks(path, "python") for line in block.parsed.splitlines()]

    assert [line for line in lines if re.match(r"\s*(from|import) anyio_mio\S*\._", line)] == []


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_names_itself_in_its_commands(path: Path) -> None:
    named = re.findall(r"python (examples/\S+\.py)", docstring(path))

    assert set(named) <= {str(path.relative_to(ROOT))}


BINDING = {
    "create_tcp_listener": "local_host",
    "create_udp_socket": "local_host",
    "serve_tcp": "host",
    "create_server": None,
}
"""Functions that listen, and the argument that says where."""


def calls_that_listen(source: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of these functions, also those that `partial()` and `run()` are given."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            for each in (node.func, *node.args):
                name = getattr(each, "attr", getattr(each, "id", ""))
                if name in BINDING:
                    yield name, node


def is_on_this_machine_alone(name: str, call: ast.Call) -> bool:
    text = ast.unparse(call)
    keyword = BINDING[name]
    return "127.0.0.1" in text if keyword is None else f"{keyword}=" in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_listens_on_this_machine_alone(path: Path) -> None:
    for name, call in calls_that_listen(path.read_text()):
        assert is_on_this_machine_alone(name, call), ast.unparse(call)


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_a_program_of_a_page_listens_on_this_machine_alone(path: Path) -> None:
    for block in blocks(path, "python"):
        if directive(block)[0] == "skip":
            continue
        for name, call in calls_that_listen(str(block.parsed)):
            assert is_on_this_machine_alone(name, call), ast.unparse(call)
