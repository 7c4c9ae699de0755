"""Servers of databases and message brokers for the tests, each on a free port of 127.0.0.1.

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
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

SECONDS = 20
DEBIAN = Path("/usr/lib/postgresql")
UNPRIVILEGED = "nobody"


def program(name: str) -> str | None:
    """Find a program of PostgreSQL: Debian keeps them in a folder for each version."""
    found = sorted(DEBIAN.glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def unprivileged() -> dict[str, Any]:
    """What makes `subprocess.run()` drop root's rights, which PostgreSQL refuses to have."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return {}
    return {"user": UNPRIVILEGED, "group": "nogroup", "extra_groups": []}


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


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
def postgres(folder: Path) -> Iterator[int]:
    """Start PostgreSQL with the user ``postgres``, who needs no password; yields its port."""
    initdb, server = program("initdb"), program("postgres")
    assert initdb is not None
    assert server is not None
    hand_over(folder)
    data, port = str(folder / "data"), free_port()
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
        # It listens before it lets anyone in; the drivers report that as an error.
        time.sleep(0.5)
        yield port


@contextmanager
def redis(folder: Path) -> Iterator[int]:
    """Start Redis, which stores nothing; yields its port."""
    server = shutil.which("redis-server")
    assert server is not None
    hand_over(folder)
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running([server, *options], folder, port):
        yield port


@contextmanager
def memcached(folder: Path) -> Iterator[int]:
    """Start memcached; yields its port."""
    hand_over(folder)
    port = free_port()
    with running([found("memcached"), "-p", str(port), "-l", "127.0.0.1"], folder, port):
        yield port


@contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """Start Mosquitto, a broker of MQTT; yields its port."""
    hand_over(folder)
    port = free_port()
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    settings.chmod(0o644)
    with running([found("mosquitto"), "-c", str(settings)], folder, port):
        yield port


@contextmanager
def nats(folder: Path) -> Iterator[int]:
    """Start a NATS server; yields its port."""
    hand_over(folder)
    port = free_port()
    with running([found("nats-server"), "-a", "127.0.0.1", "-p", str(port)], folder, port):
        yield port


@contextmanager
def mariadb(folder: Path) -> Iterator[int]:
    """Start MariaDB with the user ``root``, who needs no password; yields its port."""
    hand_over(folder)
    data, port = str(folder / "data"), free_port()
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
        yield port


def found(name: str) -> str:
    """Return the path of a program; Debian keeps some servers where users have no path to."""
    path = find(name)
    assert path is not None
    return path


def find(name: str) -> str | None:
    """Find a program that is installed, also among the system's."""
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
