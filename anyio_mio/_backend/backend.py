"""``MioBackend``: what AnyIO asks of a backend, each method in a line or two."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from signal import Signals
from socket import AddressFamily, SocketKind, socket
from typing import IO, TYPE_CHECKING, Any, TypeVar, TypeVarTuple, final

import anyio
import anyio.abc

from anyio_mio._backend import names, processes, running, threads
from anyio_mio._backend.anyio_internals import CancelScope
from anyio_mio._backend.capacity_limiter import CapacityLimiter
from anyio_mio._backend.names import AddressInfo
from anyio_mio._backend.processes import Process, StrOrBytesPath
from anyio_mio._backend.signals import SignalReceiver
from anyio_mio._backend.synchronization import Event, Lock, Semaphore
from anyio_mio._backend.task_info import MioTaskInfo, current_task_info, task_info
from anyio_mio._backend.tasks import TaskGroup
from anyio_mio._backend.test_runner import TestRunner
from anyio_mio._kernel.cancelled import Cancelled
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.running import running as thread
from anyio_mio._net.connect import connect_tcp, connect_unix
from anyio_mio._net.datagrams import (
    Address,
    ConnectedUDPSocket,
    ConnectedUNIXDatagramSocket,
    UDPSocket,
    UNIXDatagramSocket,
    make_udp_socket,
    make_unix_datagram_socket,
)
from anyio_mio._net.listeners import SocketListener
from anyio_mio._net.socket_base import adopted
from anyio_mio._net.streams import SocketStream
from anyio_mio._net.unix_streams import UNIXPacketStream, UNIXSocketStream, stream_type

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@final
class MioBackend(anyio.abc.AsyncBackend):
    """The backend that AnyIO finds under the name ``mio``. Never instantiated."""

    # Running.

    @classmethod
    def run(
        cls,
        func: Callable[[*Ts], Awaitable[T]],
        args: tuple[*Ts],
        kwargs: dict[str, Any],
        options: dict[str, Any],
    ) -> T:
        return running.run(func, args, kwargs, options)

    @classmethod
    def current_token(cls) -> object:
        return running_kernel()

    @classmethod
    def current_time(cls) -> float:
        return running_kernel().now()

    @classmethod
    def cancelled_exception_class(cls) -> type[BaseException]:
        return Cancelled

    @classmethod
    async def checkpoint(cls) -> None:
        kernel = thread.kernel or running_kernel()  # which says what is wrong
        if kernel.budget <= 0 or kernel.run_queue or kernel.spent or kernel.hung_up:
            await kernel.yield_now()
            if kernel.budget <= 0 or kernel.interrupted:
                kernel.raise_if_cancelled()
        else:
            kernel.budget -= 1

    @classmethod
    async def checkpoint_if_cancelled(cls) -> None:
        kernel = running_kernel()
        if kernel.budget <= 0:
            await kernel.checkpoint_if_cancelled()

    @classmethod
    async def cancel_shielded_checkpoint(cls) -> None:
        await running_kernel().yield_now()

    @classmethod
    async def sleep(cls, delay: float) -> None:
        await running_kernel().sleep(delay)

    # Tasks and scopes.

    @classmethod
    def create_cancel_scope(
        cls, *, deadline: float = math.inf, shield: bool = False
    ) -> CancelScope:
        return CancelScope(deadline=deadline, shield=shield)

    @classmethod
    def current_effective_deadline(cls) -> float:
        task = running_kernel().current
        return math.inf if task is None else task.scope.effective_deadline()

    @classmethod
    def create_task_group(cls) -> TaskGroup:
        return TaskGroup()

    @classmethod
    def get_current_task(cls) -> MioTaskInfo:
        return current_task_info(running_kernel())

    @classmethod
    def get_running_tasks(cls) -> list[anyio.TaskInfo]:
        return [task_info(task) for task in running_kernel().tasks()]

    @classmethod
    async def wait_all_tasks_blocked(cls) -> None:
        kernel = running_kernel()
        await kernel.idle.wait(kernel)

    @classmethod
    def create_test_runner(cls, options: dict[str, Any]) -> TestRunner:
        return TestRunner(options)

    # Synchronization.

    @classmethod
    def create_event(cls) -> Event:
        return Event()

    @classmethod
    def create_lock(cls, *, fast_acquire: bool) -> Lock:
        return Lock(fast_acquire=fast_acquire)

    @classmethod
    def create_semaphore(
        cls, initial_value: int, *, max_value: int | None = None, fast_acquire: bool = False
    ) -> Semaphore:
        return Semaphore(initial_value, max_value=max_value, fast_acquire=fast_acquire)

    @classmethod
    def create_capacity_limiter(cls, total_tokens: float) -> CapacityLimiter:
        return CapacityLimiter(total_tokens)

    # Threads.

    @classmethod
    async def run_sync_in_worker_thread(
        cls,
        func: Callable[[*Ts], T],
        args: tuple[*Ts],
        abandon_on_cancel: bool = False,
        limiter: anyio.CapacityLimiter | None = None,
    ) -> T:
        return await threads.run_in_worker_thread(cls, func, args, abandon_on_cancel, limiter)

    @classmethod
    def current_default_thread_limiter(cls) -> CapacityLimiter:
        return threads.threads_of(cls, running_kernel()).default_limiter

    @classmethod
    def check_cancelled(cls) -> None:
        threads.check_cancelled()

    @classmethod
    def run_async_from_thread(
        cls, func: Callable[[*Ts], Coroutine[Any, Any, T]], args: tuple[*Ts], token: object
    ) -> T:
        return threads.run_async_from_thread(func, args, token)

    @classmethod
    def run_sync_from_thread(cls, func: Callable[[*Ts], T], args: tuple[*Ts], token: object) -> T:
        return threads.run_sync_from_thread(func, args, token)

    @classmethod
    def run_sync_soon(cls, func: Callable[[*Ts], object], args: tuple[*Ts], token: object) -> None:
        threads.run_sync_soon(func, args, token)

    # Signals.

    @classmethod
    def open_signal_receiver(
        cls, *signals: Signals
    ) -> AbstractContextManager[AsyncIterator[Signals]]:
        return SignalReceiver(signals)

    # Names, sockets, descriptors.

    @classmethod
    async def getaddrinfo(
        cls,
        host: bytes | str | None,
        port: str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Sequence[AddressInfo]:
        limiter = threads.threads_of(cls, running_kernel()).name_limiter
        return await names.getaddrinfo(limiter, host, port, family, type, proto, flags)

    @classmethod
    async def getnameinfo(cls, sockaddr: Address, flags: int = 0) -> tuple[str, str]:
        limiter = threads.threads_of(cls, running_kernel()).name_limiter
        return await names.getnameinfo(limiter, sockaddr, flags)

    @classmethod
    async def connect_tcp(
        cls, host: str, port: int, local_address: tuple[str, int] | None = None
    ) -> SocketStream:
        reactor = running_kernel().reactor
        sock, registration = await connect_tcp(reactor, host, port, local_address)
        return SocketStream(sock, reactor, registration)

    @classmethod
    async def wait_readable(cls, obj: FileDescriptorLike) -> None:
        kernel = running_kernel()
        await kernel.reactor.foreign.wait_readable(fileno(obj))

    @classmethod
    async def wait_writable(cls, obj: FileDescriptorLike) -> None:
        kernel = running_kernel()
        await kernel.reactor.foreign.wait_writable(fileno(obj))

    @classmethod
    def notify_closing(cls, obj: FileDescriptorLike) -> None:
        running_kernel().reactor.foreign.notify_closing(fileno(obj))

    @classmethod
    async def connect_unix(
        cls, path: str | bytes, kind: SocketKind = SocketKind.SOCK_STREAM
    ) -> UNIXSocketStream:
        reactor = running_kernel().reactor
        sock, registration = await connect_unix(reactor, path, kind)
        stream = UNIXSocketStream if kind == SocketKind.SOCK_STREAM else UNIXPacketStream
        return stream(sock, reactor, registration)

    @classmethod
    def create_tcp_listener(cls, sock: socket) -> SocketListener:
        return SocketListener(sock, running_kernel().reactor, stream_type(sock))

    @classmethod
    def create_unix_listener(cls, sock: socket) -> SocketListener:
        return SocketListener(sock, running_kernel().reactor, stream_type(sock))

    @classmethod
    async def create_udp_socket(
        cls,
        family: AddressFamily,
        local_address: Address | None,
        remote_address: Address | None,
        reuse_port: bool,
    ) -> UDPSocket | ConnectedUDPSocket:
        reactor = running_kernel().reactor
        return make_udp_socket(reactor, family, local_address, remote_address, reuse_port)

    @classmethod
    async def create_unix_datagram_socket(  # type: ignore[override] # overloads say no more here
        cls, raw_socket: socket, remote_path: str | bytes | None
    ) -> UNIXDatagramSocket | ConnectedUNIXDatagramSocket:
        return make_unix_datagram_socket(running_kernel().reactor, raw_socket, remote_path)

    # Sockets made by other code, which may hold a duplicate.

    @classmethod
    async def wrap_listener_socket(cls, sock: socket) -> SocketListener:
        return adopted(SocketListener(sock, running_kernel().reactor, stream_type(sock)))

    @classmethod
    async def wrap_stream_socket(cls, sock: socket) -> SocketStream:
        return adopted(stream_type(sock)(sock, running_kernel().reactor))

    @classmethod
    async def wrap_unix_stream_socket(cls, sock: socket) -> UNIXSocketStream:
        return adopted(UNIXSocketStream(sock, running_kernel().reactor))

    @classmethod
    async def wrap_udp_socket(cls, sock: socket) -> UDPSocket:
        return adopted(UDPSocket(sock, running_kernel().reactor))

    @classmethod
    async def wrap_connected_udp_socket(cls, sock: socket) -> ConnectedUDPSocket:
        return adopted(ConnectedUDPSocket(sock, running_kernel().reactor))

    @classmethod
    async def wrap_unix_datagram_socket(cls, sock: socket) -> UNIXDatagramSocket:
        return adopted(UNIXDatagramSocket(sock, running_kernel().reactor))

    @classmethod
    async def wrap_connected_unix_datagram_socket(cls, sock: socket) -> ConnectedUNIXDatagramSocket:
        return adopted(ConnectedUNIXDatagramSocket(sock, running_kernel().reactor))

    # Processes.

    @classmethod
    async def open_process(
        cls,
        command: StrOrBytesPath | Sequence[StrOrBytesPath],
        *,
        stdin: int | IO[Any] | None,
        stdout: int | IO[Any] | None,
        stderr: int | IO[Any] | None,
        **kwargs: Any,
    ) -> Process:
        return await processes.open_process(
            command, stdin=stdin, stdout=stdout, stderr=stderr, **kwargs
        )

    @classmethod
    def setup_process_pool_exit_at_shutdown(cls, workers: set[anyio.abc.Process]) -> None:
        processes.kill_at_shutdown(workers)


def fileno(obj: FileDescriptorLike) -> int:
    """Return the descriptor of an int or of an object with ``fileno()``."""
    return obj if isinstance(obj, int) else obj.fileno()
