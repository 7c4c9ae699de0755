"""Make the inventories that intersphinx reads; CI has no internet to fetch the projects' own.

    python docs/inventories/make.py

An inventory says on which page of a project's documentation a name is explained. These are made
from the public names of the installed packages and hold no more than what this documentation may
refer to. The format is Sphinx's second one: four lines of header, then one line of
`name domain:role priority page#anchor title` for each name, compressed.
"""

from __future__ import annotations

import builtins
import inspect
import zlib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent

# Which page explains the names of which module.
PROJECTS = {
    "anyio": {
        "api.html": (
            "anyio",
            "anyio.abc",
            "anyio.from_thread",
            "anyio.lowlevel",
            "anyio.streams.buffered",
            "anyio.streams.memory",
            "anyio.streams.tls",
            "anyio.to_process",
            "anyio.to_thread",
        )
    },
    "trio": {
        "reference-core.html": ("trio", "trio.to_thread", "trio.from_thread"),
        "reference-io.html": ("trio.abc", "trio.socket"),
        "reference-lowlevel.html": ("trio.lowlevel",),
        "reference-testing.html": ("trio.testing",),
    },
    "python": {
        "library/errno.html": ("errno",),
        "library/logging.html": ("logging",),
        "library/resource.html": ("resource",),
        "library/select.html": ("select",),
        "library/signal.html": ("signal",),
        "library/socket.html": ("socket",),
        "library/ssl.html": ("ssl",),
    },
}
# Trio explains the names of its top module on two pages.
IO_WORDS = ("open_", "serve_", "Stream", "Listener", "Path", "run_process", "Process", "aclose")
NOT_IO = ("trio.open_memory_channel", "trio.open_nursery")


def main() -> None:
    for project, pages in PROJECTS.items():
        lines = [
            line
            for page, modules in pages.items()
            for name in modules
            for line in entries(name, page)
        ]
        if project == "python":
            lines += [f"{name} py:exception 1 library/exceptions.html#$ -" for name in errors()]
        release = "3" if project == "python" else version(project)
        header = (
            "# Sphinx inventory version 2\n"
            f"# Project: {project}\n# Version: {release}\n"
            "# The remainder of this file is compressed using zlib.\n"
        )
        body = "".join(f"{line}\n" for line in sorted(set(lines)))
        (HERE / f"{project}.inv").write_bytes(header.encode() + zlib.compress(body.encode(), 9))
        print(f"{project}.inv: {len(lines)} names")


def entries(module_name: str, page: str) -> Iterator[str]:
    module = import_module(module_name)
    yield f"{module_name} py:module 0 {page}#module-$ -"
    for name in public_names(module):
        role = role_of(getattr(module, name))
        where = page
        full_name = f"{module_name}.{name}"
        if module_name == "trio" and full_name not in NOT_IO:
            where = "reference-io.html" if any(word in name for word in IO_WORDS) else page
        yield f"{full_name} py:{role} 1 {where}#$ -"


def public_names(module: ModuleType) -> Iterator[str]:
    names = getattr(module, "__all__", None) or dir(module)
    for name in names:
        if not name.startswith("_") and not inspect.ismodule(getattr(module, name)):
            yield name


def role_of(value: object) -> str:
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if callable(value) else "data"


def errors() -> list[str]:
    found = vars(builtins).items()
    return [n for n, v in found if isinstance(v, type) and issubclass(v, BaseException)]


if __name__ == "__main__":
    main()
