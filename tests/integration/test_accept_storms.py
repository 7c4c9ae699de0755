"""Accepting under duress, for real: storms, resets, injected errors, and no descriptors left.

The server runs in a process of its own (`accept_server.py`), and tells its figures when it ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from anyio_mio.testing import MockClock
from tests.net.scripted import CONNECTION, run, scripted

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).with_name("accept_server.py")
STRACE = shutil.which("strace")
RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing discards the connection with a reset."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and traces with strace"),
]


class Server:
    """The server's process."""

    def __init__(self, process: subprocess.Popen[str], tracer: bool) -> None:
        self.process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline())
        self.pid = child_of(process.pid) if tracer else process.pid

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=8)

    def figures(self) -> dict[str, Any]:
        """Stop it, and return what it counted."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        out, _ = self.process.communicate(timeout=8)
        assert self.process.returncode == 0
        return json.loads(out)  # type: ignore[no-any-return]

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextmanager
def server(
    files: int = 0, hold: float = 0, inject: str = "", shed: bool = False
) -> Iterator[Server]:
    command = [sys.executable, str(SERVER), str(files), str(hold), *["shed"] * shed]
    if inject:
        assert STRACE is not None
        trace = [STRACE, "-f", "-qq", "-o", os.devnull, "-e", "trace=accept4"]
        command = [*trace, "-e", f"inject=accept4:{inject}", *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # some lines at the most: they fit into the pipe
        text=True,
        env=environment,
    ) as process:
        ours = None
        try:
            ours = Server(process, bool(inject))
            yield ours
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid if ours is None else ours.pid, signal.SIGKILL)
                process.kill()


@pytest.fixture(autouse=True)
def _enough_files() -> Iterator[None]:
    """The clients live here, and there are thousands of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else 65536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask(client: socket.socket) -> None:
    client.sendall(b"ping")


def answered(client: socket.socket) -> bool:
    with client:
        return client.recv(16) == b"ping"


def is_served(client: socket.socket) -> bool:
    try:
        return client.recv(16) == b"ping"
    except ConnectionResetError:
        return False


# No descriptors left.


@pytest.mark.invariant("N3")
def test_all_clients_are_served_in_the_end_with_fewer_descriptors_than_clients() -> None:
    with server(files=64) as ours, ExitStack() as stack:
        clients = [stack.enter_context(ours.connect()) for _ in range(200)]
        for client in clients:
            ask(client)
        assert sum(map(answered, clients)) == 200
        figures = ours.figures()

    assert figures["accepted"] == figures["finished"] == 200
    assert figures["backed_off"] >= 1
    assert figures["last_errno"] == errno.EMFILE


@pytest.mark.invariant("N3")
def test_a_starved_server_sleeps(record_property: Any) -> None:
    with server(files=64) as ours, ExitStack() as stack:
        clients = [stack.enter_context(ours.connect()) for _ in range(200)]
        for client in clients:
            ask(client)
        assert clients[0].recv(16) == b"ping"
        time.sleep(0.7)  # the delay grows to its full length
        before, began = ours.cpu_seconds(), time.monotonic()
        time.sleep(3)  # measured: what it uses while it has nothing to do
        share = (ours.cpu_seconds() - before) / (time.monotonic() - began)
        clients[0].close()
        assert sum(map(answered, clients[1:])) == 199

    record_property("summary", f"CPU while out of descriptors: {share:.2%}")
    assert share <= 0.02


def test_clients_without_a_descriptor_for_them_are_turned_away_on_demand() -> None:
    with server(files=64, shed=True) as ours, ExitStack() as stack:
        clients = [stack.enter_context(ours.connect()) for _ in range(200)]
        for client in clients:
            with contextlib.suppress(ConnectionError):
                ask(client)
        served = [client for client in clients if is_served(client)]
        turned_away = len(clients) - len(served)
        for client in served:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(16) == b""  # from here on its descriptor is free
        with ours.connect() as late:
            ask(late)
            assert late.recv(16) == b"ping"
        figures = ours.figures()

    assert turned_away == figures["shed"] > 100
    assert figures["accepted"] == 201
    assert figures["finished"] == 201 - turned_away


# Errors that the system is made to report.

CAPACITY = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]
ONE_CONNECTION = ["ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN"]


@pytest.fixture(scope="module")
def strace() -> None:
    if STRACE is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run([STRACE, "-qq", "-o", os.devnull, "true"], check=False, timeout=10)
    if probe.returncode:
        pytest.skip("strace may not trace here")


@pytest.mark.usefixtures("strace")
@pytest.mark.invariant("N3")
@pytest.mark.parametrize("error", [*CAPACITY, *ONE_CONNECTION])
def test_an_injected_error_ends_nothing(error: str) -> None:
    with server(inject=f"error={error}:when=1..3") as ours, ExitStack() as stack:
        clients = [stack.enter_context(ours.connect()) for _ in range(10)]
        for client in clients:
            ask(client)
        assert sum(map(answered, clients)) == 10
        figures = ours.figures()

    assert figures["last_errno"] == getattr(errno, error)
    assert figures["backed_off"] == (3 if error in CAPACITY else 0)
    assert figures["aborted"] == (0 if error in CAPACITY else 3)


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize(
    "error, complaint",
    [("EBADF", "ClosedResourceError"), ("EFAULT", "while accepting on <socket")],
)
def test_what_no_waiting_mends_ends_the_server_and_is_told(error: str, complaint: str) -> None:
    # The first call finds an empty queue; the next one is for the client, who is still queued when
    # the server ends, and so is served.
    with server(inject=f"error={error}:when=2") as ours:
        client = ours.connect()
        ask(client)
        assert answered(client)
        _, errors = ours.process.communicate(timeout=8)

    assert ours.process.returncode != 0
    assert complaint in errors


@pytest.mark.usefixtures("strace")
@pytest.mark.invariant("N3")
def test_a_firewall_that_refuses_everything_does_not_make_it_spin() -> None:
    with server(inject="error=EPERM:when=1+") as ours, ours.connect():
        time.sleep(0.5)
        before = ours.cpu_seconds()
        time.sleep(1)
        assert ours.cpu_seconds() - before <= 0.1
        figures = ours.figures()

    assert figures["backed_off"] >= 1
    assert figures["accepted"] == 0


# Storms.


def test_thousands_of_resets_leave_nothing_behind() -> None:
    with server() as ours:
        for _ in range(5000):
            client = ours.connect()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
        last = ours.connect()
        ask(last)
        assert answered(last)
        figures = ours.figures()

    assert figures["accepted"] + figures["aborted"] == 5001
    assert (figures["failed"], figures["open"]) == (0, 0)


@pytest.mark.invariant("N1")
@pytest.mark.parametrize("size", [1, 16, 256, 4096])
def test_every_connection_of_a_burst_is_served(size: int) -> None:
    with server() as ours, ExitStack() as stack:
        os.kill(ours.pid, signal.SIGSTOP)  # so that they queue, as far as the system lets them
        clients = [stack.enter_context(ours.connect()) for _ in range(min(size, queue_limit()))]
        os.kill(ours.pid, signal.SIGCONT)
        clients += [stack.enter_context(ours.connect()) for _ in range(size - len(clients))]
        for client in clients:
            ask(client)
        assert sum(map(answered, clients)) == size
        figures = ours.figures()

    assert figures["accepted"] == figures["finished"] == size
    assert max(map(int, figures["accepts_per_wakeup"])) == min(size, 64)


def queue_limit() -> int:
    return int(Path("/proc/sys/net/core/somaxconn").read_text()) // 2


def test_fast_clients_do_not_wait_for_slow_ones() -> None:
    with server(hold=0) as ours, ExitStack() as stack:
        slow = [stack.enter_context(ours.connect()) for _ in range(1000)]
        fast = [stack.enter_context(ours.connect()) for _ in range(20)]
        longest = 0.0
        for number in range(15):
            for each in slow[number::15]:
                each.sendall(b"p")  # and nothing more for now
            for each in fast:
                began = time.monotonic()
                ask(each)
                assert each.recv(16) == b"ping"
                longest = max(longest, time.monotonic() - began)
        assert longest < 1
        assert all(each.recv(1) == b"p" for each in slow)


# Signals.


def test_sigterm_lets_the_connections_finish() -> None:
    with server() as ours, ours.connect() as client:
        ask(client)
        assert client.recv(16) == b"ping"
        os.kill(ours.pid, signal.SIGTERM)
        wait_until_refused(ours)
        ask(client)
        assert client.recv(16) == b"ping"
        client.close()
        figures = ours.process.communicate(timeout=8)[0]

    assert json.loads(figures)["finished"] >= 1
    assert json.loads(figures)["cancelled"] == 0
    assert ours.process.returncode == 0


def test_a_second_sigterm_stops_at_once() -> None:
    with server() as ours, ours.connect() as client:
        ask(client)
        assert client.recv(16) == b"ping"
        os.kill(ours.pid, signal.SIGTERM)
        wait_until_refused(ours)
        began = time.monotonic()
        os.kill(ours.pid, signal.SIGTERM)
        figures = ours.process.communicate(timeout=8)[0]

    assert time.monotonic() - began < 3, "sooner than the grace period"
    assert json.loads(figures)["cancelled"] >= 1
    assert ours.process.returncode == 0


def wait_until_refused(ours: Server) -> None:
    for _ in range(1000):
        try:
            ours.connect().close()
        except ConnectionRefusedError:
            return
        time.sleep(0.005)
    pytest.fail("the server still listens")


# What went wrong in asyncio's accept loop.


def test_cpython_127529_an_aborted_connection_does_not_end_the_drain() -> None:
    async def main() -> None:
        with scripted(CONNECTION, "ECONNABORTED", CONNECTION) as (listener, _):
            assert listener.acceptor.drain(lambda stream: stream._close(), 100) == 2

    run(main)


def test_cpython_151615_running_out_is_retried_once_and_not_for_each_of_the_backlog() -> None:
    async def main() -> None:
        with scripted(*["EMFILE"] * 1000) as (listener, script):
            with anyio.move_on_after(10):
                await listener.accept()
            assert 10 <= script.calls <= 25  # 5 ms doubling to about a second

    run(main, clock=MockClock(autojump=0))


@pytest.mark.invariant("N2")
def test_cpython_153761_a_cancelled_accept_drops_no_connection() -> None:
    async def main() -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as multi:
            (listener,) = multi.listeners
            address = ("127.0.0.1", multi.extra(anyio.abc.SocketAttribute.local_port))
            async with anyio.create_task_group() as group:
                group.start_soon(listener.accept)  # type: ignore[attr-defined]
                await anyio.wait_all_tasks_blocked()
                with socket.create_connection(address) as client:
                    group.cancel_scope.cancel()  # in the turn in which the connection comes
                    with anyio.CancelScope(shield=True), anyio.fail_after(5):
                        await anyio.wait_all_tasks_blocked()
                        async with await listener.accept() as stream:  # type: ignore[attr-defined]
                            client.sendall(b"hello")
                            assert await stream.receive() == b"hello"

    run(main, clock=None)
