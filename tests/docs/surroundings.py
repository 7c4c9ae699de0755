"""The servers that a page of the documentation supposes on its reader's machine.

A page names them in a comment, `<!-- needs: haproxy postgres redis -->`. What is not installed
makes its test skip. PostgreSQL and Redis are started, each on a free port; the page's commands find
them by the variables DATABASE_URL and REDIS_URL, as the page tells its reader to set them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.asyncio import servers
from tests.shared.ports import reserved_port

NEEDS: Final = re.compile(r"<!-- needs: (?P<names>[\w ]+) -->")

PROGRAMS: Final = {"postgres": "postgres", "redis": "redis-server", "haproxy": "haproxy"}
"""What is started; every other name is a module of Python."""

Starter = Callable[[Path, int], AbstractContextManager[None]]

COMMANDS: Final = ("curl", "openssl", "pkill", "psql")
"""Programs that a page runs if one of its commands names them; few machines have all."""

STARTED: Final[dict[str, tuple[Starter, str, str]]] = {
    "postgres": (
        servers.postgres,
        "DATABASE_URL",
        "postgresql://postgres@127.0.0.1:{port}/postgres",
    ),
    "redis": (servers.redis, "REDIS_URL", "redis://127.0.0.1:{port}/0"),
}


def is_installed(name: str) -> bool:
    """Whether there is the program, or the module, of this name."""
    if name not in PROGRAMS:
        return find_spec(name) is not None
    return servers.find(PROGRAMS[name]) is not None


def commands_in(text: str) -> list[str]:
    """Return those of `COMMANDS` that the console blocks of a page name."""
    lines = "\n".join(re.findall(r"^\$ .*", text, re.MULTILINE))
    return [name for name in COMMANDS if re.search(rf"\b{name}\b", lines)]


@contextmanager
def surroundings(path: Path, factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start what a page needs, or skip; yields the variables of its commands.

    Args:
        path: the page.
        factory: makes the folders of the servers.
    """
    text = path.read_text()
    match = NEEDS.search(text)
    names = match["names"].split() if match else []
    for name in names:
        if not is_installed(name):
            pytest.skip(f"{name} is not installed")
    for name in commands_in(text):
        if shutil.which(name) is None:
            pytest.skip(f"the page runs {name}, which is not installed")
    with ExitStack() as stack:
        variables = {}
        for name in names:
            if name in STARTED:
                start, variable, url = STARTED[name]
                port = stack.enter_context(reserved_port())
                stack.enter_context(start(factory.mktemp(name), port))
                variables[variable] = url.format(port=port)
        yield variables
