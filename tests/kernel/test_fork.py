"""A forked child has its parent's objects and not its event loop: any use says so (R7)."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

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


USES = {
    "checkpoint": "anyio.lowlevel.checkpoint()",
    "sleep": "anyio.sleep(0)",
    "sleep for a while": "anyio.sleep(1)",
    "receive what is there": "ready.receive()",
    "receive": "stream.receive()",
    "send": "stream.send(b'from the child')",
    "wait_readable": "anyio.wait_readable(peer)",
    "event": "anyio.Event().wait()",
    "to_thread": "anyio.to_thread.run_sync(int)",
    "task group": "group_in_child()",
}


@pytest.mark.invariant("R7")
def test_whatever_a_child_awaits_teaches_it_and_the_parent_goes_on() -> None:
    uses = ", ".join(f"{name!r}: lambda: {use}" for name, use in USES.items())
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
    for name, line in zip(USES, lines, strict=False):
        assert line.startswith(f"{name} | RuntimeError: this process was forked"), line


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
