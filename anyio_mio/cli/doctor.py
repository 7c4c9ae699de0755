"""The command `anyio-mio doctor`: what mio finds on this machine, and what to change."""

from __future__ import annotations

import platform
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, TypeAlias

import click

from anyio_mio.lowlevel import TESTED_ANYIO
from anyio_mio.poll import available_selectors

State: TypeAlias = Literal["ok", "note", "change"]

EXTRAS: Final = {
    "cli": ("click", "h11", "rich"),
    "trio": ("trio",),
    "asgi": ("httptools", "websockets"),
    "prometheus": ("prometheus_client",),
}

FEW_DESCRIPTORS: Final = 4096
"""A connection needs one each; most systems start programs with 1,024 or 256."""

SHORT_QUEUE: Final = 1024
"""Connections that may wait to be accepted; a burst of more is refused or delayed."""

FEW_PORTS: Final = 10_000
"""Outgoing connections to one address at a time."""

RUN_HERE: Final = {
    "linux": "Linux: the tests run here; docs/platforms.md says which of them pass on this Python",
    "win32": "Windows: AnyIO's suite has run under wine, the other tests on a stand-in",
    "darwin": "macOS: nothing has run here; AnyIO's suite runs on a model of kqueue",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        what: what was looked at.
        value: what was found.
        state: whether it is as it should be, worth knowing, or to be changed.
        advice: what to do; empty if nothing.
    """

    what: str
    value: str
    state: State = "ok"
    advice: str = ""

    def __str__(self) -> str:
        return self.in_columns(0)

    def in_columns(self, columns: int) -> str:
        """Return its text, in lines of so many columns; 0 for any length."""
        mark = {"ok": " ", "note": "-", "change": "!"}[self.state]
        margin = " " * (24 if columns >= 60 or not columns else 4)
        lines = wrap(f"{mark} {self.what + ':':<22}{self.value}", margin, columns)
        return "\n".join(lines + wrap(f"{margin}{self.advice}", margin, columns))


@click.command()
def doctor() -> None:
    """Check this machine for mio, and say what to change.

    It checks the selector, the limits of the system, and the versions of packages.

    On a busy server, change what a line with ! names. A line with - is for your information.
    """
    columns = shutil.get_terminal_size((0, 0)).columns  # 0: it is no terminal
    for finding in findings():
        click.echo(finding.in_columns(columns))


def wrap(line: str, margin: str, columns: int) -> list[str]:
    """Break a line; none for a blank one."""
    if not line.strip():
        return []
    return textwrap.wrap(line, columns, subsequent_indent=margin) if columns else [line]


def findings() -> Iterator[Finding]:
    """Yield every finding."""
    yield Finding("Python", python_name(), *interpreter_lock())
    yield Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield platform_finding(sys.platform)
    yield selector_finding(available_selectors())
    yield anyio_finding(installed("anyio"))
    for extra, modules in EXTRAS.items():
        yield extra_finding(extra, modules)
    yield from limits()


def python_name() -> str:
    """Return the implementation and version."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def interpreter_lock() -> tuple[State, str]:
    """Return whether threads of this Python run in parallel."""
    ask = getattr(sys, "_is_gil_enabled", None)
    if ask is not None and not ask():
        return "note", "free-threaded: serve_tcp(threads=N) uses N processors"
    return "ok", ""


def platform_finding(name: str) -> Finding:
    """Return what has been run on systems like this one."""
    unknown = f"{name}: nothing has run here"
    known = RUN_HERE.get(name, unknown)
    return Finding("tested", known, "ok" if name == "linux" else "note")


def selector_finding(names: tuple[str, ...]) -> Finding:
    """Return the selector that a run takes, and the others."""
    others = f" (also: {', '.join(names[1:])})" if names[1:] else ""
    if names[0] == "level":
        advice = "each wait looks at every socket: fit for some thousand of them"
        return Finding("selector", names[0], "note", advice)
    return Finding("selector", names[0] + others)


def anyio_finding(found: str | None) -> Finding:
    """Return whether this AnyIO is one that mio was tested with."""
    first, last = TESTED_ANYIO
    if found is None:
        return Finding("anyio", "not installed", "change", "pip install anyio")
    if not first <= minor_version(found) <= last:
        tested = " to ".join(".".join(map(str, each)) for each in TESTED_ANYIO)
        return Finding("anyio", found, "change", f"mio is tested with {tested}")
    return Finding("anyio", f"{found}, tested")


def minor_version(text: str) -> tuple[int, int]:
    """Return the first two numbers of a version."""
    major, minor = (int(number) for number in re.findall(r"\d+", text)[:2])
    return major, minor


def extra_finding(extra: str, modules: tuple[str, ...]) -> Finding:
    """Return whether an extra's packages are there."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        advice = f"pip install 'anyio-mio[{extra}]', if you need it"
        return Finding(f"extra {extra}", f"without {', '.join(missing)}", "note", advice)
    return Finding(f"extra {extra}", ", ".join(f"{name} {installed(name)}" for name in modules))


def installed(name: str) -> str | None:
    """Return a package's version, if it is installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def limits() -> Iterator[Finding]:
    """Yield what the system allows."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield descriptor_finding(soft, hard, unlimited=resource.RLIM_INFINITY)
    if sys.platform == "linux":
        yield from linux_limits(Path("/proc/sys"))


def descriptor_finding(soft: int, hard: int, *, unlimited: int) -> Finding:
    """Return how many descriptors this process may open."""
    value = f"{soft} (at most {'any number' if hard == unlimited else hard})"
    if soft != unlimited and soft < FEW_DESCRIPTORS:
        advice = f"a server of many clients: ulimit -n 65536, or LimitNOFILE=65536 ({soft} now)"
        return Finding("open descriptors", value, "change", advice)
    return Finding("open descriptors", value)


def linux_limits(root: Path) -> Iterator[Finding]:
    """Yield the settings of Linux that bound a server.

    Args:
        root: where they are, ``/proc/sys``.
    """
    for name, least, purpose in (
        ("net/core/somaxconn", SHORT_QUEUE, "connections that wait to be accepted"),
        ("net/ipv4/tcp_max_syn_backlog", SHORT_QUEUE // 4, "connections that are being opened"),
        ("fs/epoll/max_user_watches", 100_000, "descriptors that epoll watches"),
        ("fs/nr_open", FEW_DESCRIPTORS, "the highest limit of open descriptors"),
    ):
        with suppress(OSError, ValueError):
            number = int((root / name).read_text())
            yield setting_finding(name.replace("/", "."), number, least, purpose)
    with suppress(OSError, ValueError):
        low, high = map(int, (root / "net/ipv4/ip_local_port_range").read_text().split())
        purpose = "outgoing connections to one address"
        yield setting_finding("ports", high - low + 1, FEW_PORTS, purpose)


def setting_finding(name: str, number: int, least: int, purpose: str) -> Finding:
    """Return one setting: fine from ``least`` on."""
    short = name.rpartition(".")[2]
    if number >= least:
        return Finding(short, f"{number} {purpose}")
    setting = "net.ipv4.ip_local_port_range='10000 65000'" if name == "ports" else f"{name}={least}"
    return Finding(short, f"{number} {purpose}", "change", f"sysctl -w {setting}")
