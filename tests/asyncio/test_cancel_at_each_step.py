"""Programs that are cancelled after their first step, after their second, and so on to the last.

A step is a step of the kernel or a callback of asyncio's, so each program is cancelled at every
moment at which it can be. At each moment the same holds: it ends, the cancellation ends with it,
what it used can be used on, and no callback, timer, reader or task of it is left.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

import anyio_mio
from anyio_mio._kernel.kernel import running_kernel
from anyio_mio._kernel.task import Task
from anyio_mio.asyncio import run_in_task
from anyio_mio.lowlevel import Instrument

pytestmark = pytest.mark.invariant("A2")

Body: TypeAlias = "Callable[[], Awaitable[object]]"
MOST_STEPS = 400
SECONDS = 5


class Steps(Instrument):
    """Counts the steps of the kernel and the callbacks of asyncio, and cancels after one of them.

    Attributes:
        left: how many are left before the program is cancelled.
        has_cancelled: whether it was, since the count began.
    """

    def __init__(self) -> None:
        self.left = 0
        self.has_cancelled = False
        self._cancel: Callable[[], object] | None = None

    def begin(self, cancel: Callable[[], object]) -> None:
        """Count from now on, and call ``cancel`` when nothing is left."""
        self._cancel = cancel
        self.has_cancelled = False

    def end(self) -> None:
        """Count no more: the program is over."""
        self._cancel = None

    def after_step(self, task: Task) -> None:
        """A task of mio, or the queue of callbacks, has had its step."""
        kernel = running_kernel()
        kernel.current, current = None, kernel.current
        self.advance()
        kernel.current = current

    def run_handle(self, handle: Any) -> None:
        """Run a callback of asyncio's, in the place of debug mode."""
        handle._run()
        self.advance()

    def advance(self) -> None:
        """One more step was taken."""
        self.left -= 1
        if self.left <= 0 and self._cancel is not None:
            cancel, self._cancel = self._cancel, None
            self.has_cancelled = True
            cancel()


# Programs. Each prepares something, yields what is cancelled, and looks at what is left of it.


@asynccontextmanager
async def future() -> AsyncIterator[Body]:
    loop = asyncio.get_running_loop()

    async def body() -> None:
        for _ in range(3):
            waited = loop.create_future()
            loop.call_soon(loop.call_soon, set_if_not_done, waited)
            await waited

    yield body


def set_if_not_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@asynccontextmanager
async def bare_yields() -> AsyncIterator[Body]:
    async def body() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            await checkpoint()

    yield body


@asynccontextmanager
async def sleeps_of_both_worlds() -> AsyncIterator[Body]:
    async def body() -> None:
        await asyncio.sleep(0.0001)
        await anyio.sleep(0.0001)
        await asyncio.sleep(0.0001)

    yield body


@asynccontextmanager
async def lock() -> AsyncIterator[Body]:
    lock = asyncio.Lock()

    async def hold() -> None:
        for _ in range(3):
            async with lock:
                await asyncio.sleep(0)

    async def body() -> None:
        other = asyncio.create_task(hold())
        try:
            await hold()
        finally:
            await other

    yield body
    assert not lock.locked()
    async with lock:
        pass


@asynccontextmanager
async def semaphore_and_condition() -> AsyncIterator[Body]:
    semaphore, condition = asyncio.Semaphore(1), asyncio.Condition()

    async def wait() -> None:
        async with semaphore, condition:
            condition.notify_all()
            await asyncio.sleep(0)

    async def body() -> None:
        async with condition:
            asyncio.get_running_loop().call_soon(asyncio.create_task, wait())
            await condition.wait()
        async with semaphore:
            await asyncio.sleep(0)

    yield body
    assert not semaphore.locked()
    assert not condition.locked()


@asynccontextmanager
async def queue() -> AsyncIterator[Body]:
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def produce() -> None:
        for number in range(4):
            await queue.put(number)

    async def body() -> None:
        producer = asyncio.create_task(produce())
        try:
            received = [await queue.get() for _ in range(4)]
        finally:
            producer.cancel()
        assert received == [0, 1, 2, 3]

    yield body
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(7)
    assert await queue.get() == 7


@asynccontextmanager
async def wait_for() -> AsyncIterator[Body]:
    ended = []

    async def inner() -> None:
        ended.append(False)
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0.0001)
        finally:
            try:
                await asyncio.sleep(0)
            finally:
                ended[-1] = True

    async def body() -> None:
        await asyncio.wait_for(inner(), 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1), 0.0001)

    yield body
    assert all(ended)


@asynccontextmanager
async def timeouts_of_both_worlds() -> AsyncIterator[Body]:
    async def body() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.0001):
                await anyio.sleep(1)
        with anyio.move_on_after(0.0001):
            async with asyncio.timeout(1):
                await asyncio.sleep(1)
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0.0001)

    yield body


@asynccontextmanager
async def group_of_asyncio() -> AsyncIterator[Body]:
    running = set()

    async def child(number: int) -> None:
        running.add(number)
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0.0001 * number)
        finally:
            running.discard(number)

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(child(number))
            await asyncio.sleep(0)

    yield body
    assert not running


@asynccontextmanager
async def group_of_asyncio_that_fails() -> AsyncIterator[Body]:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    async def body() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1))
                group.create_task(fail())
                await asyncio.sleep(1)
        except* LookupError:
            pass

    yield body


@asynccontextmanager
async def group_of_mio() -> AsyncIterator[Body]:
    running = set()

    async def child(number: int) -> None:
        running.add(number)
        try:
            await asyncio.sleep(0)
            await asyncio.create_task(asyncio.sleep(0.0001 * number))
        finally:
            running.discard(number)

    async def body() -> None:
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(child, number)
            await asyncio.sleep(0)

    yield body
    assert not running


@asynccontextmanager
async def gather() -> AsyncIterator[Body]:
    ended = []

    async def child() -> None:
        ended.append(False)
        try:
            await asyncio.sleep(0.0001)
        finally:
            ended[ended.index(False)] = True

    async def body() -> None:
        await asyncio.gather(child(), child(), asyncio.sleep(0), return_exceptions=True)
        await asyncio.wait([asyncio.ensure_future(child())])

    yield body
    assert all(ended)


@asynccontextmanager
async def shield() -> AsyncIterator[Body]:
    kept: list[str] = []

    async def keep() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0.0001)
        kept.append("ended")

    async def body() -> None:
        kept.append("began")
        await asyncio.shield(keep())

    yield body
    assert kept in ([], ["began", "ended"])


@asynccontextmanager
async def clean_up_that_waits() -> AsyncIterator[Body]:
    steps: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(0.0001)
        except asyncio.CancelledError:
            steps.append("begins")
            await asyncio.sleep(0)
            await asyncio.create_task(asyncio.sleep(0.0001))
            steps.append("ends")
            raise

    yield body
    assert steps in ([], ["begins", "ends"])


@asynccontextmanager
async def into_mio() -> AsyncIterator[Body]:
    event = anyio.Event()
    asyncio.get_running_loop().call_later(0.0005, event.set)

    async def use() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(event.wait)
            await anyio.sleep(0.0001)

    async def body() -> None:
        await asyncio.create_task(run_in_task(use))

    yield body
    if not event.is_set():
        await event.wait()


@asynccontextmanager
async def executor() -> AsyncIterator[Body]:
    async def body() -> None:
        await asyncio.to_thread(int, "1")
        await asyncio.get_running_loop().run_in_executor(None, int, "1")

    yield body
    await asyncio.to_thread(int, "1")


@asynccontextmanager
async def transport() -> AsyncIterator[Body]:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"hello")

        def data_received(self, data: bytes) -> None:
            if not received.done():
                received.set_result(data)

        def connection_lost(self, error: Exception | None) -> None:
            lost.append(error)

    lost: list[Exception | None] = []
    received: asyncio.Future[bytes] = loop.create_future()

    async def body() -> None:
        transport, _ = await loop.create_connection(Protocol, sock=ours)
        try:
            assert await loop.sock_recv(theirs, 100) == b"hello"
            await loop.sock_sendall(theirs, b"answer")
            assert await received == b"answer"
        finally:
            transport.close()

    yield body
    for _ in range(3):
        await asyncio.sleep(0)
    assert lost in ([], [None])
    received.cancel()
    ours.close()
    theirs.close()


@asynccontextmanager
async def streams() -> AsyncIterator[Body]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await reader.readline())
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def body() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"a line\n")
            await writer.drain()
            assert await reader.readline() == b"a line\n"
            assert await reader.read() == b""
        finally:
            writer.close()

    yield body
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def thread_of_anyio() -> AsyncIterator[Body]:
    async def body() -> None:
        await to_thread.run_sync(int, "1")
        await asyncio.sleep(0)

    yield body


PROGRAMS: list[Callable[[], AbstractAsyncContextManager[Body]]] = [
    future,
    bare_yields,
    sleeps_of_both_worlds,
    lock,
    semaphore_and_condition,
    queue,
    wait_for,
    timeouts_of_both_worlds,
    group_of_asyncio,
    group_of_asyncio_that_fails,
    group_of_mio,
    gather,
    shield,
    clean_up_that_waits,
    into_mio,
    executor,
    transport,
    streams,
    thread_of_anyio,
]
IN_MIO_ONLY = {
    timeouts_of_both_worlds,
    group_of_mio,
    thread_of_anyio,
    sleeps_of_both_worlds,
    bare_yields,
    into_mio,
}


# Ways to cancel a program. Each says whether the cancellation has arrived.


async def by_a_scope(body: Body, steps: Steps) -> bool:
    with anyio.CancelScope() as scope:
        steps.begin(scope.cancel)
        await body()
    return scope.cancelled_caught


async def by_the_scope_of_a_group(body: Body, steps: Steps) -> bool:
    has_ended = []

    async def child() -> None:
        await body()
        has_ended.append(True)

    async with anyio.create_task_group() as group:
        steps.begin(group.cancel_scope.cancel)
        group.start_soon(child)
    return not has_ended


async def by_the_face(body: Body, steps: Steps) -> bool:
    face = asyncio.current_task()
    assert face is not None
    steps.begin(face.cancel)
    try:
        await body()
    except asyncio.CancelledError:
        assert face.uncancel() == 0
        return True
    while face.cancelling():
        face.uncancel()
    return False


async def by_asyncios_timeout(body: Body, steps: Steps) -> bool:
    try:
        async with asyncio.timeout(None) as timeout:
            steps.begin(lambda: timeout.reschedule(0))
            await body()
    except TimeoutError:
        return True
    return False


async def in_an_awaited_task_of_asyncio(body: Body, steps: Steps) -> bool:
    with anyio.CancelScope() as scope:
        steps.begin(scope.cancel)
        await asyncio.create_task(wrapped(body))
        await asyncio.sleep(0)
    return scope.cancelled_caught


async def in_a_task_of_asyncio(body: Body, steps: Steps) -> bool:
    return await ended_by_cancellation(asyncio.create_task(wrapped(body)), steps)


async def in_a_task_of_mio_for_asyncio(body: Body, steps: Steps) -> bool:
    return await ended_by_cancellation(asyncio.create_task(run_in_task(wrapped, body)), steps)


async def wrapped(body: Body) -> None:
    await body()


async def ended_by_cancellation(task: asyncio.Task[Any], steps: Steps) -> bool:
    steps.begin(task.cancel)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()


WAYS = [
    by_a_scope,
    by_the_scope_of_a_group,
    by_the_face,
    by_asyncios_timeout,
    in_an_awaited_task_of_asyncio,
    in_a_task_of_asyncio,
    in_a_task_of_mio_for_asyncio,
]


def swallows(program: Any, way: Any) -> bool:
    """Whether asyncio itself loses a cancellation: ``wait_for()`` if its future was done, and a
    ``TaskGroup`` if a child had failed. Later versions do not."""
    scopes = (by_a_scope, by_the_scope_of_a_group, in_an_awaited_task_of_asyncio)
    if way in scopes:
        return False
    return (program is wait_for and sys.version_info < (3, 12)) or (
        program is group_of_asyncio_that_fails and sys.version_info < (3, 13)
    )


def ids(function: Any) -> str:
    return str(function.__name__)


@pytest.mark.parametrize("directly", [True, False], ids=["as it runs", "between callbacks"])
@pytest.mark.parametrize("way", WAYS, ids=ids)
@pytest.mark.parametrize("program", PROGRAMS, ids=ids)
def test_a_program_can_be_cancelled_after_each_of_its_steps(
    program: Any, way: Any, directly: bool
) -> None:
    if program in IN_MIO_ONLY and way in (in_an_awaited_task_of_asyncio, in_a_task_of_asyncio):
        pytest.skip("a task of asyncio cannot wait for what is mio's")
    steps = Steps()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        await asyncio.to_thread(int, "1")  # the executor's first thread is made once
        await to_thread.run_sync(int, "1")
        if not directly:
            loop._callbacks.run_handle = steps.run_handle
        for number in range(1, MOST_STEPS):
            try:
                if not await cancel_after(number, program, way, steps):
                    return
            except BaseException as error:
                error.add_note(f"cancelled after step {number}; left: {leftovers(loop)}")
                raise
        raise AssertionError("it does not end")

    anyio_mio.run(main, instruments=[steps])


async def cancel_after(number: int, program: Any, way: Any, steps: Steps) -> bool:
    """Cancel a program after so many steps; return whether it had as many."""
    loop = asyncio.get_running_loop()
    with anyio.fail_after(SECONDS), recorded_futures(loop) as futures:
        before = leftovers(loop)
        async with program() as body:

            async def body_and_a_wait() -> None:
                await body()
                steps.end()
                await asyncio.sleep(0.0001)  # a cancellation arrives here at the latest

            steps.left = number
            has_arrived = await way(body_and_a_wait, steps)
            steps.end()
            assert has_arrived == steps.has_cancelled or swallows(program, way)
            await until_its_tasks_have_ended()
        while leftovers(loop) != before:  # a socket's other side may take a moment
            await anyio.sleep(0.0001)
    assert not [each for each in futures if not each.done() and each._callbacks]
    return steps.has_cancelled


async def until_its_tasks_have_ended() -> None:
    await checkpoint()
    while asyncio.all_tasks():
        await asyncio.sleep(0)
    await asyncio.sleep(0)


@contextmanager
def recorded_futures(loop: Any) -> Iterator[list[Any]]:
    """Collect the futures that are made."""
    futures: list[Any] = []
    make_future = loop.create_future

    def record() -> object:
        futures.append(make_future())
        return futures[-1]

    loop.create_future = record
    try:
        yield futures
    finally:
        del loop.create_future


def leftovers(loop: Any) -> tuple[object, ...]:
    """What a program may leave behind in the loop, in the kernel and in the task that ran it."""
    kernel, face = running_kernel(), asyncio.current_task()
    assert face is not None
    return (
        [repr(handle) for handle in loop._ready],
        list(loop._selector.watches),
        kernel.deadlines.alive(),
        len(kernel.tasks()),
        face.cancelling(),
    )
