"""Fetches AnyIO's source distribution, which holds its tests, and runs them on mio.

The distribution is that of the installed version. It is kept in a cache beside the other tools'
and unpacked anew for each run, so that a run cannot spoil the next.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".conformance_cache"

SECONDS = 200
"""A run takes about 25 s on two idle cores."""

WORST = 10
"""Bad items after which a run is given up: each may have waited for its limit of 20 s."""

HOSTS = {
    "no-ipv6-localhost": ["::1 localhost"],
    # Two names that an older standard took for one.
    "no-names": ["192.0.2.10 fass.de", "192.0.2.11 xn--fa-hia.de"],
}


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        selector: what it ran on.
        counts: how many items had each outcome.
        bad: what did not pass, with its outcome.
        excluded: what was left out by exclusions.toml.
        output: what pytest printed.
        status: pytest's exit status.
    """

    selector: str
    counts: dict[str, int]
    bad: dict[str, str]
    excluded: list[str]
    output: str
    status: int

    def __str__(self) -> str:
        numbers = ", ".join(f"{number} {outcome}" for outcome, number in self.counts.items())
        left_out = f", {len(self.excluded)} excluded" if self.excluded else ""
        suite = f"AnyIO {version('anyio')}'s own suite on mio"
        return f"{suite} with {self.selector}: {numbers}{left_out}"


def run(directory: Path, selector: str) -> Result:
    """Run the suite in an empty directory.

    Args:
        directory: where to unpack.
        selector: the poller's selector to run on.
    """
    root = unpacked(directory)
    missing = [problem for problem in HOSTS if has(problem)]
    prefix = private_hosts(directory, missing) if missing else []
    exclude = excluded_items([] if prefix else missing)
    report = directory / "report.json"
    command = [*prefix, sys.executable, "-m", "pytest", f"--mio-report={report}"]
    command += ["-p", "no:cacheprovider", f"--maxfail={WORST}"]
    command += [f"--mio-exclude={item}" for item in exclude]
    status, output = bounded(command, root, environment(selector))
    found = json.loads(report.read_text()) if report.exists() else {}
    return Result(
        selector=selector,
        counts=found.get("counts", {}),
        bad=found.get("bad", {}),
        excluded=found.get("excluded", []),
        output=output,
        status=status,
    )


def bounded(command: list[str], directory: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Run a command with everything that it starts; its status, and what it printed."""
    with subprocess.Popen(
        command,
        cwd=directory,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            output += f"\nkilled after {SECONDS} seconds"
        return process.returncode, output


def unpacked(directory: Path) -> Path:
    """The suite's root directory, unpacked from the cached distribution."""
    with tarfile.open(source_distribution()) as archive:
        archive.extractall(directory, filter="data")
    return directory / f"anyio-{version('anyio')}"


def source_distribution() -> Path:
    """The archive of the installed version, downloaded if it is not in the cache."""
    name = f"anyio-{version('anyio')}.tar.gz"
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=CACHE) as directory:
            download(directory)
            os.replace(Path(directory) / name, path)
    return path


def download(directory: str) -> None:
    """Have pip fetch the archive from the package index it is set up for."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", "anyio", "--dest", directory, f"anyio=={version('anyio')}"]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise RuntimeError(
            f"pip could not download AnyIO's source distribution:\n{ended.stderr}\n"
            "  right, without a package index: pytest -m 'not conformance'"
        )


def environment(selector: str) -> dict[str, str]:
    """The variables of a pytest that is not the one that runs this, with mio's variants added."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    path = [str(HERE / "plugin"), str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTEST_PLUGINS": "mio_variants",
        "MIO_CONFORMANCE_SELECTOR": selector,
        # Other asyncio plugins get in the way; the suite names those it needs.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }


def excluded_items(problems: list[str]) -> list[str]:
    """What exclusions.toml leaves out on a machine with these problems."""
    entries = tomllib.loads((HERE / "exclusions.toml").read_text())["exclude"]
    holding = [entry for entry in entries if entry.get("when") in (None, *problems)]
    return [item for entry in holding for item in entry["items"]]


def has(problem: str) -> bool:
    """Whether this machine lacks the names that some tests look up."""
    name, family = (
        ("localhost", socket.AF_INET6) if problem == "no-ipv6-localhost" else ("fass.de", 0)
    )
    try:
        socket.getaddrinfo(name, 80, family)
    except OSError:
        return True
    return False


def private_hosts(directory: Path, problems: list[str]) -> list[str]:
    """A command prefix that mends the problems with an /etc/hosts of its own.

    It needs a mount namespace, so it changes nothing for anybody else. Where the system does not
    allow one the prefix is empty.
    """
    if not shutil.which("unshare"):
        return []
    lines = ["127.0.0.1 localhost", f"127.0.0.1 {socket.gethostname()}"]
    lines += [line for problem in problems for line in HOSTS[problem]]
    hosts = directory / "hosts"
    hosts.write_text("\n".join(lines) + "\n")
    flags = "-m" if os.geteuid() == 0 else "-Urm"
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    prefix = ["unshare", flags, "sh", "-c", script, str(hosts)]
    trial = subprocess.run(
        [*prefix, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return prefix if trial.returncode == 0 else []
