"""System calls for each operation: counts, the same on a noisy machine and on a quiet one.

The server runs under strace, which counts the calls that concern sockets and waiting. The load is
one thread with blocking sockets, so it is the same each time.
"""

from __future__ import annotations

import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CALLS = (
    "epoll_wait,epoll_pwait,epoll_ctl,recvfrom,sendto,accept4,accept,getsockname,getpeername,"
    "ioctl,setsockopt,getsockopt,shutdown,futex"
)
SERVER = Path(__file__).parent / "echo_server.py"

IMPORTING = {"ioctl", "futex"}
"""Python opens each module's file with an ioctl, and takes a lock or two."""

ROUND_TRIPS = 2000
CONNECTIONS = 500

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


def count(load: Callable[[int], None], folder: Path) -> dict[str, int]:
    """The server's system calls while ``load(port)`` runs, by name."""
    output = folder / "strace"
    command = ["strace", "-f", "-c", "-U", "calls,name", "-e", f"trace={CALLS}", "-o", str(output)]
    server = subprocess.Popen(
        [*command, sys.executable, str(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        assert server.stdin is not None
        line = server.stdout.readline()
        if not line:
            pytest.skip("strace may not trace here")
        load(int(line))
        server.stdin.close()
    found = re.findall(r"^\s*(\d+)\s+(\w+)$", output.read_text(), re.MULTILINE)
    return {name: int(calls) for calls, name in found if name != "total"}


def each(calls: dict[str, int], operations: int) -> float:
    """Calls for each operation, without those that importing modules makes."""
    return sum(number for name, number in calls.items() if name not in IMPORTING) / operations


def one_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(ROUND_TRIPS):
            client.sendall(b"x" * 64)
            assert len(client.recv(64)) == 64


def hundred_connections(port: int) -> None:
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for _ in range(ROUND_TRIPS // 100):
        for client in clients:
            client.sendall(b"x" * 64)
        for client in clients:
            assert len(client.recv(64)) == 64
    for client in clients:
        client.close()


def short_connections(port: int) -> None:
    for _ in range(CONNECTIONS):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"x" * 64)
            assert len(client.recv(64)) == 64


def test_a_round_trip_is_one_wait_one_receive_and_one_send(tmp_path: Path) -> None:
    calls = count(one_connection, tmp_path)

    assert each(calls, ROUND_TRIPS) <= 3.05, calls


def test_many_connections_share_the_waits_and_need_nothing_else(tmp_path: Path) -> None:
    calls = count(hundred_connections, tmp_path)

    # Each connection's set-up and end is in the count: 100 of them for 2000 round trips.
    assert calls["recvfrom"] <= ROUND_TRIPS + 2 * 100 + 10, calls
    assert calls["sendto"] <= ROUND_TRIPS + 10, calls
    assert calls["epoll_ctl"] <= 100 + 10, calls


def test_a_short_connection_costs_nothing_but_its_own_calls(tmp_path: Path) -> None:
    calls = count(short_connections, tmp_path)

    # accept4, getsockname, epoll_ctl, send, receive twice or thrice, and waits that nobody shares
    # here: a client at a time means one wake-up for the accept, one for the data, one for the end.
    assert each(calls, CONNECTIONS) - calls["epoll_wait"] / CONNECTIONS <= 8.1, calls
    assert calls.get("ioctl", 0) < CONNECTIONS, calls
    assert calls.get("setsockopt", 0) <= 10, calls
    assert calls["epoll_ctl"] <= CONNECTIONS + 10, calls
