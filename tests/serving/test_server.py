"""What the serve functions promise: limits, errors, TLS, and an end in good order."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute

import anyio_mio
from anyio_mio._net import backoff
from anyio_mio._net.backoff import BackOff
from anyio_mio._net.listeners import SocketListener
from anyio_mio.serving import ServeSummary, serve_listeners, serve_tcp, serve_unix, tls
from anyio_mio.serving import server as server_module
from anyio_mio.serving.spare_descriptor import SpareDescriptor
from tests.shared import certificates
from tests.shared.leaks import nothing_left_open

HOST = "127.0.0.1"
Stream = anyio.abc.SocketStream


class Clients:
    """Blocking sockets that are closed when the run is over."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def connect(self, listener: SocketListener, count: int = 1) -> list[socket.socket]:
        address = (HOST, listener.extra(SocketAttribute.local_port))
        made = [socket.create_connection(address) for _ in range(count)]
        for each in made:
            each.settimeout(5)
            self.stack.enter_context(each)
        return made


class Serving:
    """A server in a task of its own."""

    def __init__(self, function: Callable[..., Awaitable[ServeSummary]], *args: Any, **how: Any):
        self.function, self.args, self.how = function, args, how
        self.stop = how.setdefault("stop", anyio.Event())
        self.summary: ServeSummary | None = None
        self.listeners: list[SocketListener] = []
        self.scope = anyio.CancelScope()

    async def __aenter__(self) -> Self:
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        self.listeners = await self.group.start(self._run)
        return self

    async def _run(self, *, task_status: Any) -> None:
        with self.scope:
            self.summary = await self.function(*self.args, task_status=task_status, **self.how)

    async def __aexit__(self, *failure: Any) -> bool | None:  # noqa: PYI036 - passed on
        self.stop.set()
        if failure[0] is not None:
            self.scope.cancel()
        return await self.group.__aexit__(*failure)

    @property
    def listener(self) -> SocketListener:
        return self.listeners[0]


def tcp(handler: Callable[[Any], Awaitable[object]], **how: Any) -> Serving:
    return Serving(serve_tcp, handler, 0, host=HOST, **how)


def run(main: Callable[[Clients], Awaitable[None]]) -> None:
    """Run on mio, with a limit, and see to it that no descriptor is left open."""

    async def limited() -> None:
        with anyio.fail_after(10), ExitStack() as stack:
            await main(Clients(stack))

    with nothing_left_open():
        anyio_mio.run(limited)


async def until(fact: Callable[[], object]) -> None:
    while not fact():
        await anyio.sleep(0.001)


async def settled() -> None:
    """Until the server has done all that it can do without anybody else."""
    for _ in range(3):
        await anyio.sleep(0.005)
        await anyio.wait_all_tasks_blocked()


class Gate:
    """A handler that holds its connection until the gate opens."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.inside = self.served = self.most = 0

    async def __call__(self, stream: Stream) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.open.wait()
            self.served += 1
        finally:
            self.inside -= 1


async def say_hello(stream: anyio.abc.ByteStream) -> None:
    await stream.send(b"hello")


def received(client: socket.socket) -> bytes:
    """What a client gets until its connection ends."""
    data = b""
    try:
        while chunk := client.recv(4096):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def out_of_descriptors() -> Any:
    raise OSError(24, "Too many open files")


# Limits.


def test_connections_beyond_the_limit_stay_queued_until_one_ends() -> None:
    async def main(clients: Clients) -> None:
        gate = Gate()
        async with tcp(gate, max_connections=3) as server:
            clients.connect(server.listener, 10)
            await until(lambda: gate.inside == 3)
            await settled()
            assert gate.inside == 3
            gate.open.set()
            await until(lambda: gate.served == 10)
        assert gate.most == 3
        assert server.summary == ServeSummary(10, 10, 0, 0, 0, 0)

    run(main)


def test_a_failed_handler_gives_its_permit_back(caplog: pytest.LogCaptureFixture) -> None:
    served = 0

    async def fail(stream: Stream) -> None:
        nonlocal served
        served += 1
        raise LookupError("no such thing")

    async def main(clients: Clients) -> None:
        async with tcp(fail, max_connections=1) as server:
            clients.connect(server.listener, 5)
            await until(lambda: served == 5)

    run(main)

    assert len(caplog.records) == 5


def test_two_listeners_share_the_permits_fairly() -> None:
    order: list[object] = []

    async def note(stream: Stream) -> None:
        order.append(stream.extra(SocketAttribute.local_port))
        await anyio.lowlevel.checkpoint()

    async def main(clients: Clients) -> None:
        first = await anyio.create_tcp_listener(local_host=HOST)
        second = await anyio.create_tcp_listener(local_host=HOST)
        ours = [*first.listeners, *second.listeners]
        for each in ours:
            assert isinstance(each, SocketListener)
            clients.connect(each, 20)
        async with Serving(serve_listeners, note, ours, max_connections=1):
            await until(lambda: len(order) == 40)
        half = order[:20]
        assert 8 <= half.count(order[0]) <= 12

    run(main)


def test_what_exceeds_the_limit_is_shed_on_demand() -> None:
    async def main(clients: Clients) -> None:
        gate = Gate()
        async with tcp(gate, max_connections=2, shed=True) as server:
            clients.connect(server.listener, 2)
            await until(lambda: gate.inside == 2)
            late = clients.connect(server.listener, 5)
            await until(lambda: server.listener.statistics().shed == 5)
            assert [received(each) for each in late] == [b""] * 5
            gate.open.set()
        assert server.summary is not None
        assert (server.summary.shed, server.summary.finished) == (5, 2)

    run(main)


def test_no_listener_waits_for_a_permit_where_connections_are_shed() -> None:
    async def main(clients: Clients) -> None:
        gate = Gate()
        first = await anyio.create_tcp_listener(local_host=HOST)
        second = await anyio.create_tcp_listener(local_host=HOST)
        ours = [*first.listeners, *second.listeners]
        for each in ours:
            assert isinstance(each, SocketListener)
            clients.connect(each, 3)
        how = {"max_connections": 1, "shed": True}
        async with Serving(serve_listeners, gate, ours, **how) as server:
            await until(lambda: sum(each.statistics().shed for each in server.listeners) == 5)
            gate.open.set()

    run(main)


def test_what_there_is_no_descriptor_for_is_shed_on_demand(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a descriptor is free only while the spare one is lent."""
    spare = SpareDescriptor()
    monkeypatch.setattr(server_module, "SpareDescriptor", lambda: spare)

    async def main(clients: Clients) -> None:
        async with tcp(say_hello, shed=True, accept_batch=4) as server:
            (listener,) = server.listeners
            real = listener.acceptor._accept_fd

            def accept() -> Any:
                return real() if spare._fd < 0 else out_of_descriptors()

            listener.acceptor._accept_fd = accept
            late = clients.connect(listener, 10)
            await until(lambda: listener.statistics().shed == 10)
            assert {received(each) for each in late} == {b""}
            listener.acceptor._accept_fd = real
            (client,) = clients.connect(listener)
            await until(lambda: listener.statistics().accepted == 11)
            await settled()
            assert received(client) == b"hello"
        assert server.summary == ServeSummary(11, 1, 0, 0, 10, 0)

    run(main)

    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_drain_that_fails_keeps_the_permits_of_those_it_started() -> None:
    """One connection is accepted, then ``accept()`` fails: the limit must hold to the end."""

    gate = Gate()

    async def main(clients: Clients) -> None:
        async with tcp(gate, max_connections=2, grace=0.05) as server:
            (listener,) = server.listeners
            real, answers = listener.acceptor._accept_fd, iter([True, False])

            def accept_one() -> Any:
                if next(answers, True):
                    return real()
                raise OSError(14, "Bad address")

            listener.acceptor._accept_fd = accept_one
            clients.connect(listener, 6)
            await anyio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert caught.group_contains(OSError, match="Bad address")
    assert gate.most == 2


# TLS.


@pytest.fixture(scope="module")
def server_context() -> ssl.SSLContext:
    return certificates.server_context(HOST)


def test_handlers_get_tls_streams(server_context: ssl.SSLContext) -> None:
    context = certificates.client_context()

    async def main(clients: Clients) -> None:
        async with tcp(say_hello, ssl_context=server_context) as server:
            port = server.listener.extra(SocketAttribute.local_port)
            async with await anyio.connect_tcp(
                HOST, port, ssl_context=context, tls_standard_compatible=False
            ) as stream:
                assert await stream.receive() == b"hello"

    run(main)


async def say_hello_and_close(stream: anyio.abc.ByteStream) -> None:
    async with stream:
        await stream.send(b"hello")


@pytest.mark.parametrize("handler", [say_hello, say_hello_and_close])
def test_a_strict_tls_client_is_told_the_end(handler: Any, server_context: ssl.SSLContext) -> None:
    context = certificates.client_context()

    def strict(port: int) -> bytes:
        with (
            socket.create_connection((HOST, port), timeout=5) as plain,
            context.wrap_socket(
                plain, server_hostname=HOST, suppress_ragged_eofs=False
            ) as connection,
        ):
            return received(connection)

    async def main(clients: Clients) -> None:
        async with tcp(handler, ssl_context=server_context) as server:
            port = server.listener.extra(SocketAttribute.local_port)
            assert await anyio.to_thread.run_sync(strict, port) == b"hello"
        assert server.summary == ServeSummary(1, 1, 0, 0, 0, 0)

    run(main)


def test_an_answer_that_failed_looks_truncated(server_context: ssl.SSLContext) -> None:
    context = certificates.client_context()

    async def fail(stream: anyio.abc.ByteStream) -> None:
        await stream.send(b"hel")
        raise LookupError("no such thing")

    def strict(port: int) -> None:
        with (
            socket.create_connection((HOST, port), timeout=5) as plain,
            context.wrap_socket(
                plain, server_hostname=HOST, suppress_ragged_eofs=False
            ) as connection,
            pytest.raises(ssl.SSLEOFError),
        ):
            received(connection)

    async def main(clients: Clients) -> None:
        async with tcp(fail, ssl_context=server_context) as server:
            port = server.listener.extra(SocketAttribute.local_port)
            await anyio.to_thread.run_sync(strict, port)

    run(main)


def test_a_tls_client_that_reads_nothing_does_not_hold_its_connection_for_ever(
    server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "CLOSE_NOTIFY_TIMEOUT", 0.02)
    context = certificates.client_context()

    async def flood(stream: anyio.abc.ByteStream) -> None:
        while True:
            with anyio.move_on_after(0.05) as waiting:
                await stream.send(bytes(1 << 20))
            if waiting.cancelled_caught:
                return

    def shake_hands(plain: socket.socket) -> ssl.SSLSocket:
        return context.wrap_socket(plain, server_hostname=HOST)

    async def main(clients: Clients) -> None:
        async with tcp(flood, ssl_context=server_context) as server:
            (plain,) = clients.connect(server.listener)
            silent = await anyio.to_thread.run_sync(shake_hands, plain)
            clients.stack.enter_context(silent)
            await until(lambda: server.listener.statistics().open == 0)

    run(main)


def test_a_handshake_has_a_deadline(server_context: ssl.SSLContext) -> None:
    async def main(clients: Clients) -> None:
        how = {"ssl_context": server_context, "handshake_timeout": 0.02}
        async with tcp(say_hello, **how) as server:
            (silent,) = clients.connect(server.listener)
            await until(lambda: server.listener.statistics().accepted)
            await until(lambda: server.listener.statistics().open == 0)
            assert received(silent) == b""

    run(main)


def test_a_failed_handshake_concerns_its_connection_only(server_context: ssl.SSLContext) -> None:
    async def main(clients: Clients) -> None:
        async with tcp(say_hello, ssl_context=server_context) as server:
            bad, gone = clients.connect(server.listener, 2)
            bad.sendall(b"GET / HTTP/1.0\r\n\r\n")
            gone.close()
            await until(lambda: server.listener.statistics().accepted == 2)
            await until(lambda: server.listener.statistics().open == 0)
        assert server.summary is not None
        assert server.summary.failed == 2

    run(main)


# Errors of handlers.


def test_an_error_is_logged_and_ends_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def greet(stream: Stream) -> None:
        if await stream.receive() == b"bad":
            raise LookupError("no such thing")
        await stream.send(b"hello")

    async def main(clients: Clients) -> None:
        async with tcp(greet) as server:
            bad, good = clients.connect(server.listener, 2)
            bad.sendall(b"bad")
            good.sendall(b"good")
            await until(lambda: server.listener.statistics().accepted == 2)
            await until(lambda: server.listener.statistics().open == 0)
            assert (received(bad), received(good)) == (b"", b"hello")
        assert server.summary == ServeSummary(2, 1, 1, 0, 0, 0)

    run(main)

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("anyio_mio.serving", logging.ERROR)
    assert "no such thing" in caplog.text


@pytest.mark.parametrize("queued", [0, 10])
def test_an_error_ends_the_server_on_demand(queued: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is queued stays queued until the server ends.
    monkeypatch.setattr(BackOff, "wait", lambda self: anyio.sleep_forever())

    async def main(clients: Clients) -> None:
        fails = anyio.Event()

        async def fail(stream: Stream) -> None:
            await fails.wait()
            raise LookupError("no such thing")

        async with tcp(fail, handler_errors="raise") as server:
            (listener,) = server.listeners
            clients.connect(listener)
            await until(lambda: listener.statistics().open)
            real, listener.acceptor._accept_fd = listener.acceptor._accept_fd, out_of_descriptors
            clients.connect(listener, queued)
            await until(lambda: not queued or listener.statistics().backed_off)
            listener.acceptor._accept_fd = real
            fails.set()
            await anyio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert caught.value.split(LookupError)[1] is None, "nothing but the handler's error"


# Stopping.


def test_the_stop_event_ends_it_after_the_handlers() -> None:
    async def main(clients: Clients) -> None:
        gate = Gate()
        async with tcp(gate) as server:
            address = (HOST, server.listener.extra(SocketAttribute.local_port))
            clients.connect(server.listener, 3)
            await until(lambda: gate.inside == 3)
            server.stop.set()
            await settled()
            assert server.summary is None
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            gate.open.set()
        assert server.summary == ServeSummary(3, 3, 0, 0, 0, 0)

    run(main)


def test_cancelling_gives_the_handlers_their_grace_as_well() -> None:
    async def main(clients: Clients) -> None:
        gate = Gate()
        async with tcp(gate) as server:
            clients.connect(server.listener, 3)
            await until(lambda: gate.inside == 3)
            server.scope.cancel()
            await settled()
            assert gate.inside == 3
            gate.open.set()
        assert gate.served == 3
        assert server.summary is None, "cancellation passes on"

    run(main)


def test_the_end_of_the_grace_period_cancels_what_is_left() -> None:
    async def main(clients: Clients) -> None:
        gate = Gate()
        async with tcp(gate, grace=0.02) as server:
            left = clients.connect(server.listener, 3)
            await until(lambda: gate.inside == 3)
        assert gate.inside == 0
        assert [received(each) for each in left] == [b""] * 3
        assert server.summary == ServeSummary(3, 0, 0, 3, 0, 0)

    run(main)


@pytest.mark.parametrize("queued", ["serve", "refuse"])
def test_what_is_queued_at_the_end_is_served_or_refused(
    queued: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is accepted before the end, however slow the machine is.
    monkeypatch.setattr(backoff, "FIRST_DELAY", 60)
    monkeypatch.setattr(backoff, "LAST_DELAY", 60)

    async def main(clients: Clients) -> None:
        async with tcp(say_hello, queued=queued) as server:
            (listener,) = server.listeners
            real, listener.acceptor._accept_fd = listener.acceptor._accept_fd, out_of_descriptors
            late = clients.connect(listener, 100)
            await until(lambda: listener.statistics().backed_off)
            listener.acceptor._accept_fd = real
            server.stop.set()
        assert {received(each) for each in late} == {b"hello" if queued == "serve" else b""}

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no way")
def test_no_client_is_queued_behind_the_last_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    serve_the_queue = server_module.Server._serve_the_queue
    refusals: list[TimeoutError] = []

    def serve_and_connect(server: server_module.Server) -> None:
        serve_the_queue(server)
        port = server.listeners[0].extra(SocketAttribute.local_port)
        with pytest.raises(TimeoutError) as caught:
            socket.create_connection((HOST, port), 0.1).close()
        refusals.append(caught.value)

    async def main(clients: Clients) -> None:
        async with tcp(say_hello) as server:
            server.stop.set()

    monkeypatch.setattr(server_module.Server, "_serve_the_queue", serve_and_connect)
    run(main)
    assert len(refusals) == 1


def test_the_queue_is_served_up_to_the_limit_at_the_end() -> None:
    async def main(clients: Clients) -> None:
        gate = Gate()
        async with tcp(gate, max_connections=4) as server:
            clients.connect(server.listener, 10)
            server.stop.set()
            await until(lambda: gate.inside and server.listener._is_closed)
            gate.open.set()
        assert gate.served == gate.most == 4

    run(main)


def test_it_stops_while_it_backs_off() -> None:
    async def main(clients: Clients) -> None:
        async with tcp(say_hello) as server:
            (listener,) = server.listeners
            listener.acceptor._accept_fd = out_of_descriptors
            clients.connect(listener)
            await until(lambda: listener.statistics().backed_off)
        assert server.summary == ServeSummary(0, 0, 0, 0, 0, 0)

    run(main)


# Beginning.


def test_it_tells_when_it_listens() -> None:
    async def main(clients: Clients) -> None:
        async with tcp(say_hello) as server:
            (client,) = clients.connect(server.listener)
            await until(lambda: server.listener.statistics().accepted)
            await settled()
            assert received(client) == b"hello"

    run(main)


def test_listeners_are_closed_when_it_is_cancelled_before_it_began() -> None:
    async def main(clients: Clients) -> None:
        multi = await anyio.create_tcp_listener(local_host=HOST)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await serve_listeners(say_hello, [multi])
        assert scope.cancelled_caught

    run(main)


def test_a_unix_path_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main(clients: Clients) -> None:
        async with Serving(serve_unix, say_hello, path, mode=0o600) as server:
            assert path.stat().st_mode & 0o777 == 0o600
            async with await anyio.connect_unix(path) as stream:
                assert await stream.receive() == b"hello"
        assert not path.exists()
        assert server.summary == ServeSummary(1, 1, 0, 0, 0, 0)

    run(main)


def test_what_is_no_listener_of_mio_is_refused() -> None:
    async def main(clients: Clients) -> None:
        with pytest.raises(TypeError, match="right:"):
            await serve_listeners(say_hello, [object()])  # type: ignore[list-item]

    run(main)


def test_a_handlers_task_is_named_after_the_handler() -> None:
    names: list[str | None] = []

    async def note_name(stream: Stream) -> None:
        names.append(anyio.get_current_task().name)

    async def main(clients: Clients) -> None:
        async with tcp(note_name) as server:
            clients.connect(server.listener)
            await until(lambda: names)

    run(main)
    assert names == [f"{__name__}.{note_name.__qualname__}"]
