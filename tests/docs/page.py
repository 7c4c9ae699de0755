"""A page of the documentation, run as its reader would run it: from the top to the bottom.

What a block is for can be said in a comment in front of it, which no reader sees:

    <!-- test: serves 7007 -->          a python program or a command that goes on until `^C`
    <!-- test: output -->               a text block: what the block before it printed
    <!-- test: file NAME -->            it is written to this file, as if it had that caption
    <!-- test: skip: REASON -->         it is not run, or (after `^C`) not compared

Without one, python blocks share one namespace, console blocks are run by a shell in an empty folder
and must print what they show (`...` stands for anything), and blocks with a caption are files of
that folder. The ports that the pages use are replaced by free ones.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser

from tests.shared.ports import port_of, reserve

ROOT: Final = Path(__file__).resolve().parents[2]
COMMENT: Final = re.compile(r"<!-- test: (?P<word>\w+):? ?(?P<rest>.*?) ?-->", re.DOTALL)
INTERRUPTED: Final = re.compile(r"^\^C\n", re.MULTILINE)
PORTS: Final = re.compile(r"\b(7007|7008|7009|8000|8001|8002|8080|8443|9100)\b")
FILES: Final = ("toml", "ini", "json", "yaml", "sql", "docker", "nginx")
LANGUAGES: Final = ("python", "console", "text", "markdown", *FILES)
SECONDS: Final = 90.0
"""How long a command may take on a machine that has much to do; alone it takes a few seconds."""
LISTENING: Final = "0A"


class Page:
    """One document and the folder that its commands run in.

    Args:
        path: the document.
        folder: an empty folder.
        variables: added to the environment of its commands.
    """

    def __init__(self, path: Path, folder: Path, variables: dict[str, str] | None = None) -> None:
        self.path = path
        self.folder = folder
        self.variables = variables or {}
        self.module = types.ModuleType("__main__")
        self.output = ""
        self.ports: dict[str, socket.socket] = {}
        self.servers: list[subprocess.Popen[str]] = []
        self.ran = 0

    def run(self) -> None:
        """Run every block; the first that does not do what the page says raises."""
        evaluators = {"python": self.run_python, "console": self.run_console, "text": self.compare}
        parsers = [
            CodeBlockParser(language, evaluators.get(language, self.keep)) for language in LANGUAGES
        ]
        working_directory = Path.cwd()
        self.write_commands()
        os.chdir(self.folder)
        try:
            for example in Sybil(parsers).parse(self.path).examples():
                example.evaluate()
        finally:
            os.chdir(working_directory)
            for server in self.servers:
                end(server)
            for port in self.ports.values():
                port.close()

    def run_python(self, example: Example) -> None:
        """Run it here, write it to a file, or have it serve in a process of its own."""
        word, rest = directive(example)
        source = self.with_ports(str(example.parsed))
        if word == "skip" or self.is_file(example, word, rest, source):
            return
        self.ran += 1
        if word == "serves":
            (self.folder / "program.py").write_text(source)
            self.serve("python program.py", self.with_ports(rest))
            return
        place = "\n" * (example.line + example.parsed.line_offset)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(place + source, str(self.path), "exec"), vars(self.module))
        self.output = printed.getvalue()

    def run_console(self, example: Example) -> None:
        """Run the commands and compare what they print."""
        word, rest = directive(example)
        text = self.with_ports(str(example.parsed))
        if INTERRUPTED.search(text):
            self.output = end(self.servers.pop())
            if word != "skip":
                self.expect(INTERRUPTED.sub("", text))
            return
        if word == "skip":
            return
        self.ran += 1
        if word == "serves":
            self.serve(text.removeprefix("$ "), self.with_ports(rest))
        else:
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                self.run_command(part)

    def run_command(self, part: str) -> None:
        """Run one command, which may go on in lines that follow a backslash."""
        match = re.match(r"((?:.*\\\n)*.*)\n?", part)
        assert match is not None
        done = subprocess.run(
            ["bash", "-c", match[1]],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.output = done.stdout
        assert done.returncode == 0, f"$ {match[1]}\n{done.stdout}"
        if expected := part[match.end() :]:
            self.expect(expected)

    def compare(self, example: Example) -> None:
        """A text block may be the output of what stands before it, or a file."""
        word, rest = directive(example)
        text = self.with_ports(str(example.parsed))
        if word == "output":
            self.expect(text)
        else:
            self.is_file(example, word, rest, text)

    def keep(self, example: Example) -> None:
        """A block of another language may be a file."""
        self.is_file(example, *directive(example), self.with_ports(str(example.parsed)))

    def is_file(self, example: Example, word: str, rest: str, source: str) -> bool:
        """Write the block to the file that it names, if it names one."""
        name = rest if word == "file" else caption(example)
        if name:
            (self.folder / name).write_text(source)
        return bool(name)

    def serve(self, command: str, port: str) -> None:
        """Start a command that goes on until it is told to stop, and wait until it listens."""
        server = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.servers.append(server)
        deadline = time.monotonic() + SECONDS
        while not listens(int(port)):
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"$ {command}\nnothing listens on {port}:\n{end(server)}")
            time.sleep(0.02)

    def expect(self, expected: str) -> None:
        """Compare with what was printed."""
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        checker = doctest.OutputChecker()
        if not checker.check_output(expected, self.output, flags):
            raise AssertionError(f"the page says:\n{expected}\nit printed:\n{self.output}")

    def with_ports(self, text: str) -> str:
        """The text with free ports for those that the pages use."""
        return PORTS.sub(lambda match: self.port_for(match[0]), text)

    def port_for(self, name: str) -> str:
        """The free port that stands for this one."""
        if name not in self.ports:
            self.ports[name] = reserve()
        return str(port_of(self.ports[name]))

    def write_commands(self) -> None:
        """`python`, `anyio-mio` and the rest are those of the Python that runs the tests."""
        installed = any(each.name == "anyio_mio" for each in entry_points(group="pytest11"))
        plugin = "" if installed else "-p anyio_mio_pytest"
        commands = {
            "python": "",
            "anyio-mio": "-m anyio_mio",
            "pytest": f"-m pytest {plugin}",
        }
        folder = self.folder / ".bin"
        folder.mkdir()
        for name, arguments in commands.items():
            command = folder / name
            command.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
            command.chmod(0o755)
        for name in ("examples", "benchmarks"):
            (self.folder / name).symlink_to(ROOT / name)

    def environment(self) -> dict[str, str]:
        """What the commands see."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COVERAGE_"))}
        path = os.pathsep.join([str(self.folder / ".bin"), os.environ.get("PATH", "")])
        terminal = {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
        modules = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        return {**kept, **terminal, **self.variables, "PATH": path, "PYTHONPATH": modules}


def directive(example: Example) -> tuple[str, str]:
    """What the comment in front of a block says."""
    before = example.document.text[: example.region.start].rstrip()
    match = COMMENT.fullmatch(before, max(before.rfind("<!-- test:"), 0))
    if match is None:
        return "", ""
    assert match["word"] in ("serves", "output", "file", "skip"), f"unknown: {match[0]}"
    assert match["word"] == "output" or match["rest"], f"this says too little: {match[0]}"
    return match["word"], match["rest"]


def caption(example: Example) -> str:
    """The name of the file that a block shows, if it shows one."""
    options = example.region.lexemes.get("options") or {}
    return str(options.get("caption", ""))


def listens(port: int) -> bool:
    """Whether a program listens there; asked of the system, since a connection would be served."""
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                return True
    return False


def end(server: subprocess.Popen[str]) -> str:
    """Stop it as Ctrl-C would, and return what it has printed."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
    try:
        return server.communicate(timeout=SECONDS)[0]
    except subprocess.TimeoutExpired:
        server.kill()
        return server.communicate()[0]
