"""Servers of databases and message brokers for the tests, each on a port of 127.0.0.1.

They are started by the tests, as an unprivileged user, store everything in a temporary folder, and
let everyone in who comes over loopback.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 20
DEBIAN = Path("/usr/lib/postgresql")
UNPRIVILEGED = "nobody"


def unprivileged() -> dict[str, Any]:
    """What makes `subprocess.run()` drop root's rights, which PostgreSQL refuses to have."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return {}
    return {"user": UNPRIVILEGED, "group": "nogroup", "extra_groups": []}


def until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def until_it_lets_in(port: int) -> None:
    """Wait for PostgreSQL to let clients in; before, the drivers report an error."""
    command = [found("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
    end = time.monotonic() + SECONDS
    while subprocess.run(command, check=False).returncode != 0:
        assert time.monotonic() < end, "PostgreSQL is still starting"
        time.sleep(0.02)


@contextmanager
def running(
    command: list[str], folder: Path, port: int, *, stop: signal.Signals = signal.SIGINT
) -> Iterator[None]:
    """Run a server until the block ends."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **unprivileged())
        try:
            until_it_listens(port, process)
            yield
        finally:
            process.send_signal(stop)  # at a SIGINT, PostgreSQL does not wait for its clients
            process.wait(SECONDS)


@contextmanager
def postgres(folder: Path, port: int) -> Iterator[None]:
    """Start PostgreSQL with the user ``postgres``, who needs no password."""
    initdb, server = found("initdb"), found("postgres")
    hand_over(folder)
    data = str(folder / "data")
    subprocess.run(
        [initdb, "-D", data, "-A", "trust", "-U", "postgres", "-N", "--locale=C", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd=folder,
        **unprivileged(),
    )
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": 60,
    }
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    with running([server, "-D", data, *settings], folder, port):
        until_it_lets_in(port)
        yield


@contextmanager
def redis(folder: Path, port: int) -> Iterator[None]:
    """Start Redis, which stores nothing."""
    server = shutil.which("redis-server")
    assert server is not None
    hand_over(folder)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running([server, *options], folder, port):
        yield


@contextmanager
def memcached(folder: Path, port: int) -> Iterator[None]:
    """Start memcached."""
    hand_over(folder)
    with running([found("memcached"), "-p", str(port), "-l", "127.0.0.1"], folder, port):
        yield


@contextmanager
def mosquitto(folder: Path, port: int) -> Iterator[None]:
    """Start Mosquitto, a broker of MQTT."""
    hand_over(folder)
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    settings.chmod(0o644)
    with running([found("mosquitto"), "-c", str(settings)], folder, port):
        yield


@contextmanager
def nats(folder: Path, port: int) -> Iterator[None]:
    """Start a NATS server."""
    hand_over(folder)
    with running([found("nats-server"), "-a", "127.0.0.1", "-p", str(port)], folder, port):
        yield


@contextmanager
def mariadb(folder: Path, port: int) -> Iterator[None]:
    """Start MariaDB with the user ``root``, who needs no password."""
    hand_over(folder)
    data = str(folder / "data")
    install = [found("mariadb-install-db"), "--no-defaults", f"--datadir={data}"]
    subprocess.run(
        [*install, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        capture_output=True,
        cwd=folder,
        **unprivileged(),
    )
    options = [f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1"]
    files = [f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"]
    command = [found("mariadbd"), "--no-defaults", *options, *files]
    with running(command, folder, port, stop=signal.SIGTERM):
        yield


def found(name: str) -> str:
    """Return the path of a program; Debian keeps some servers where users have no path to."""
    path = find(name)
    assert path is not None
    return path


def find(name: str) -> str | None:
    """Find a program that is installed, also in Debian's folders for a version of PostgreSQL."""
    versions = sorted(DEBIAN.glob(f"*/bin/{name}"))
    if versions:
        return str(versions[-1])
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def hand_over(folder: Path) -> None:
    """Let the unprivileged user into a temporary folder, which pytest makes for root alone."""
    if not unprivileged():
        return
    for parent in (folder, *folder.parents):
        if parent == Path(parent.anchor) or parent.stat().st_uid != os.geteuid():
            break
        parent.chmod(parent.stat().st_mode | 0o055)
    shutil.chown(folder, UNPRIVILEGED, "nogroup")
