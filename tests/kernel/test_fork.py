"""A forked child has its parent's objects and not its event loop: any use says so (R7)."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from anyio_mio.poll import available_selectors

# In processes of their own: pytest has threads, and forking with threads is warned of from 3.12 on.
PROLOGUE = """
import os, signal, socket, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import anyio, anyio.abc, anyio.lowlevel, anyio_mio

async def in_child(function):
    '''What the child wrote about it.'''
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            result = await function()
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(writer, str(result).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(pid, 0)
    return text

"""


def run_script(source: str) -> str:
    script = PROLOGUE + textwrap.dedent(source)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False
    )
    assert result.stderr == ""
    assert result.returncode == 0
    return result.stdout


NO_LOOP = "NoEventLoopError: Not currently running on any asynchronous event loop"
FORKED = "RuntimeError: this process was forked"

USES = {
    "checkpoint": ("anyio.lowlevel.checkpoint()", NO_LOOP),
    "sleep": ("anyio.sleep(0)", NO_LOOP),
    "sleep for a while": ("anyio.sleep(1)", NO_LOOP),
    "receive what is there": ("ready.receive()", FORKED),
    "receive": ("stream.receive()", FORKED),
    "send": ("stream.send(b'from the child')", FORKED),
    "wait_readable": ("anyio.wait_readable(peer)", NO_LOOP),
    "event": ("event.wait()", FORKED),
    "lock": ("lock.acquire()", FORKED),
    "to_thread": ("anyio.to_thread.run_sync(int)", NO_LOOP),
    "task group": ("group_in_child()", NO_LOOP),
}


@pytest.mark.invariant("R7")
def test_whatever_a_child_awaits_teaches_it_and_the_parent_goes_on() -> None:
    uses = ", ".join(f"{name!r}: lambda: {use}" for name, (use, _) in USES.items())
    output = run_script(f"""
        async def group_in_child():
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 1)

        async def pair():
            ours, peer = socket.socketpair()
            return await anyio.abc.UNIXSocketStream.from_socket(ours), peer

        async def main():
            stream, peer = await pair()
            ready, ready_peer = await pair()
            ready_peer.send(b"data")
            event, lock = anyio.Event(), anyio.Lock()
            uses = {{{uses}}}
            for name, use in uses.items():
                print(name, "|", (await in_child(use)).splitlines()[0])
            print("data is there:", await ready.receive())
            async with anyio.create_task_group() as group:
                group.start_soon(stream.receive)
                await anyio.wait_all_tasks_blocked()
                peer.send(b"x")
            for end in (stream, ready):
                await end.aclose()
            peer.close(), ready_peer.close()

        anyio.run(main, backend="mio")
    """)
    lines = output.splitlines()

    assert lines[-1] == "data is there: b'data'"
    for (name, (_, error)), line in zip(USES.items(), lines, strict=False):
        assert line.startswith(f"{name} | {error}"), line


@pytest.mark.invariant("R7")
def test_no_other_task_goes_on_in_the_child() -> None:
    output = run_script("""
        async def other():
            await anyio.lowlevel.checkpoint()
            os.write(1, b"another task went on\\n")

        async def forks():
            pid = os.fork()
            if pid == 0:
                await anyio.lowlevel.checkpoint()
                os.write(1, b"never\\n")
            os.waitpid(pid, 0)

        async def main():
            async with anyio.create_task_group() as group:
                group.start_soon(other)
                group.start_soon(forks)

        parent = os.getpid()
        try:
            anyio.run(main, backend="mio")
        except BaseException as error:
            assert os.getpid() != parent
            os.write(1, f"the child: {'forked' in repr(error)}\\n".encode())
            os._exit(0)
    """)

    assert sorted(output.splitlines()) == ["another task went on", "the child: True"]


def test_the_childs_signals_are_its_own() -> None:
    # They were noted for a kernel that was dead, and woke the parent through the shared socket.
    output = run_script("""
        async def press():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                return f"interrupted, wakes {signal.set_wakeup_fd(-1)}"

        async def main():
            print(await in_child(press))

        anyio.run(main, backend="mio")
    """)

    assert output == "interrupted, wakes -1\n"


def test_worker_threads_work_in_a_child_that_begins_anew() -> None:
    output = run_script("""
        async def main():
            return await anyio.to_thread.run_sync(lambda: "from a thread")

        print(anyio.run(main, backend="mio"), flush=True)
        pid = os.fork()
        if pid == 0:
            print(anyio.run(main, backend="mio"), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
    """)

    assert output.splitlines() == ["from a thread", "from a thread"]


RUNS = {
    "mio": "anyio.run(program, backend='mio')",
    "mio again": "anyio_mio.run(program)",
    "asyncio": "asyncio.run(program())",
    "AnyIO on asyncio": "anyio.run(program, backend='asyncio')",
    "Trio": "anyio.run(program, backend='trio')",
}


@pytest.mark.parametrize("selector", available_selectors())
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_child_of_a_task_may_begin_a_run_of_its_own(run: str, selector: str) -> None:
    output = run_script(f"""
        import asyncio

        async def program():
            await anyio.sleep(0.001)
            return await anyio.to_thread.run_sync(lambda: "from a thread")

        async def child():
            return {run}

        async def main():
            print(await in_child(child))
            print(await program())

        anyio.run(main, backend="mio", backend_options={{"selector": {selector!r}}})
    """)

    assert output.splitlines() == ["from a thread", "from a thread"]


def test_a_child_ends_although_a_thread_of_the_parent_holds_a_lock_of_the_run() -> None:
    output = run_script("""
        import contextlib, threading
        from anyio_mio._kernel.run import living_kernels

        def locks(kernel):
            selector = kernel.reactor.poll._selector
            yield kernel.entry._lock
            yield kernel.entry.waker._lock
            yield kernel.reactor.registry._lock
            if selector.name == "level":
                yield selector._lock
                yield selector._waker._lock

        def hold(held, done):
            [kernel] = living_kernels
            with contextlib.ExitStack() as stack:
                for lock in locks(kernel):
                    stack.enter_context(lock)
                held.set()
                done.wait()

        async def main():
            held, done = threading.Event(), threading.Event()
            threading.Thread(target=hold, args=(held, done)).start()
            held.wait()
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            print(os.waitpid(pid, 0)[1])
            done.set()
            await anyio.sleep(0.001)

        anyio.run(main, backend="mio")
        anyio.run(main, backend="mio", backend_options={"selector": "level"})
    """)

    assert output.splitlines() == ["0", "0"]


def test_closing_in_the_child_does_not_wake_the_parents_level_selector() -> None:
    output = run_script("""
        from anyio_mio.poll._sys.level import LevelSelector
        from anyio_mio.poll._sys.selector import close_in_child

        selector = LevelSelector()
        waker = selector._waker.fileno()
        pid = os.fork()
        if pid == 0:
            close_in_child(selector)
            os._exit(0)
        os.waitpid(pid, 0)
        import select
        print(select.select([waker], [], [], 0)[0])
    """)

    assert output == "[]\n"
