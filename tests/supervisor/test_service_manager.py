"""sd_notify, against a notify socket of the test's own."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from anyio_mio._supervisor.service_manager import ServiceManager


@pytest.fixture
def anyio_backend() -> str:
    return "mio"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def received(sock: socket.socket) -> list[str]:
    return sock.recv(4096).decode().splitlines()


def test_ready_reloading_and_stopping_are_said(manager: socket.socket) -> None:
    service = ServiceManager(manager.getsockname())
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    service.ready("serving")
    service.reloading()
    service.stopping()

    assert received(manager) == ["READY=1", "STATUS=serving"]
    first, second, _ = received(manager)
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) >= before
    assert received(manager)[0] == "STOPPING=1"


@pytest.mark.anyio
async def test_the_watchdog_is_fed_twice_as_often_as_asked(manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "40000"}
    service = ServiceManager.from_environment(environment)
    with anyio.move_on_after(0.1):
        await service.feed_watchdog()

    assert environment == {}
    assert [received(manager) for _ in range(3)] == [["WATCHDOG=1"]] * 3


@pytest.mark.anyio
async def test_a_watchdog_of_another_process_and_no_manager_are_left_alone(
    manager: socket.socket,
) -> None:
    path = manager.getsockname()
    other = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1", "WATCHDOG_PID": str(os.getpid() + 1)}
    with anyio.fail_after(5):
        await ServiceManager.from_environment(other).feed_watchdog()
        await ServiceManager.from_environment({}).feed_watchdog()
    ServiceManager.from_environment({}).ready("x")
    manager.setblocking(False)

    with pytest.raises(BlockingIOError):
        manager.recv(1)


def test_an_abstract_name_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(b"\0anyio-mio-%d" % os.getpid())
        ServiceManager(f"@anyio-mio-{os.getpid()}").stopping()

        assert received(sock)[0] == "STOPPING=1"


def test_a_manager_that_does_not_read_or_is_gone_is_not_waited_for(
    manager: socket.socket, tmp_path: Path
) -> None:
    service = ServiceManager(manager.getsockname())
    for _ in range(2000):
        service.ready("x" * 1000)
    ServiceManager(str(tmp_path / "nothing")).ready("x")
