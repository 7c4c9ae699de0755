"""Names are looked up in threads of their own; what is a number needs no thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import SocketAttribute

import anyio_mio
from anyio_mio._backend.threads import DEFAULT_THREADS
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._net.datagrams import UDPSocket, is_numeric

NAME = "name.example"
ANSWERS = {NAME: "127.0.0.1", "six.example": "::1"}
has_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")


class Resolver:
    """Stands for the system's: numbers as ever, names in threads that wait until they may go on."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self.real = real
        self.may_go_on = threading.Event()
        self.called = threading.Semaphore(0)
        self.threads: list[int] = []

    def __call__(self, host: Any, port: Any, *arguments: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        *_, flags = arguments
        if name not in ANSWERS | {"dead.example": ""} or flags & socket.AI_NUMERICHOST:
            return self.real(host, port, *arguments)
        self.threads.append(threading.get_ident())
        self.called.release()
        self.may_go_on.wait(10)
        if name not in ANSWERS:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self.real(ANSWERS[name], port, *arguments)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.may_go_on.set()


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(anyio.to_thread, "run_sync", refuse)


def test_names_that_do_not_resolve_take_no_thread_from_the_program(resolver: Resolver) -> None:
    async def main() -> int:
        async with anyio.create_task_group() as group:
            for _ in range(DEFAULT_THREADS + 20):
                group.start_soon(anyio.getaddrinfo, NAME, 80)
            await anyio.wait_all_tasks_blocked()
            assert all(resolver.called.acquire(timeout=10) for _ in range(DEFAULT_THREADS))
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            assert await anyio.to_thread.run_sync(lambda: "quick") == "quick"
        resolver.may_go_on.set()
        return len(resolver.threads)

    assert anyio_mio.run(main) == DEFAULT_THREADS


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize(
    "host, port",
    [("127.0.0.1", 80), (b"127.0.0.1", 80), ("127.0.0.1", "80"), ("127.0.0.1", None), (None, 80)],
)
def test_a_numeric_address_needs_no_thread(host: Any, port: Any) -> None:
    async def main() -> list[tuple[str, int]]:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [entry[4] for entry in found]

    expected = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    assert anyio_mio.run(main) == [entry[4][:2] for entry in expected]


@pytest.mark.usefixtures("no_threads")
@has_ipv6
def test_a_numeric_address_of_ipv6_needs_no_thread() -> None:
    async def main() -> object:
        return (await anyio.getaddrinfo("::1", 80, type=socket.SOCK_STREAM))[0][4]

    assert anyio_mio.run(main) == ("::1", 80)


@pytest.mark.usefixtures("no_threads")
def test_a_numeric_address_of_the_wrong_family_is_the_systems_error() -> None:
    async def main() -> None:
        await anyio.getaddrinfo("127.0.0.1", 80, family=socket.AF_INET6)

    with pytest.raises(socket.gaierror):
        anyio_mio.run(main)


def test_a_service_is_looked_up_in_a_thread(resolver: Resolver) -> None:
    async def main() -> object:
        return (await anyio.getaddrinfo("127.0.0.1", "http", type=socket.SOCK_STREAM))[0][4]

    assert anyio_mio.run(main) == ("127.0.0.1", 80)


@pytest.mark.usefixtures("no_threads")
def test_the_numeric_name_of_an_address_needs_no_thread() -> None:
    async def main() -> object:
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        return await anyio.getnameinfo(("127.0.0.1", 80), flags)

    assert anyio_mio.run(main) == ("127.0.0.1", "80")


@pytest.mark.usefixtures("no_threads")
def test_a_look_up_of_a_number_is_a_checkpoint() -> None:
    async def main() -> bool:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.getaddrinfo("127.0.0.1", 80)
        return scope.cancelled_caught

    assert anyio_mio.run(main)


def test_a_datagram_to_a_name_does_not_stop_the_loop(resolver: Resolver) -> None:
    async def main() -> tuple[bytes, list[str]]:
        seen = list[str]()

        async def tick() -> None:
            await anyio.sleep(0.01)
            seen.append("another task ran")
            resolver.may_go_on.set()

        async with (
            await anyio.create_udp_socket(local_host="127.0.0.1") as udp,
            anyio.create_task_group() as group,
        ):
            group.start_soon(tick)
            await udp.sendto(b"data", NAME, udp.extra(SocketAttribute.local_port))
            seen.append("sent")
            data, _ = await udp.receive()
        return data, seen

    data, seen = anyio_mio.run(main)
    assert data == b"data"
    assert seen == ["another task ran", "sent"]
    assert threading.get_ident() not in resolver.threads


def test_a_datagram_to_a_name_that_is_not_known_fails_with_the_reason(resolver: Resolver) -> None:
    resolver.may_go_on.set()

    async def main() -> BaseException | None:
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as udp:
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await udp.sendto(b"data", "dead.example", 9)
            return caught.value.__cause__

    assert isinstance(anyio_mio.run(main), socket.gaierror)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo", "", "<broadcast>", "0", "1.2"])
def test_what_the_system_takes_as_it_is(host: str) -> None:
    assert is_numeric(host)


@pytest.mark.parametrize("host", ["localhost", "name.example", "host1", "1.example", "a.1"])
def test_what_has_to_be_looked_up(host: str) -> None:
    assert not is_numeric(host)


def test_the_address_of_another_family_is_left_to_the_system() -> None:
    async def main() -> bytes:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            ours.setblocking(False)
            theirs.bind("")
            async with UDPSocket(ours, running_kernel().reactor) as udp:
                await udp.send((b"data", theirs.getsockname()))
            return theirs.recv(10)

    assert anyio_mio.run(main) == b"data"
