"""Processes: their end told to everybody, their pipes, and what is left when they fail."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import anyio.to_process
import anyio.to_thread
import blockbuster
import pytest
from anyio.abc import Process

from anyio_mio._backend.processes import ThreadExit, process_exit
from anyio_mio._kernel.kernel import running_kernel
from tests.integration.conftest import Run
from tests.shared.leaks import open_descriptors

PYTHON = [sys.executable, "-I", "-S", "-c"]

needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no pidfd here")


async def sleeper() -> Process:
    """A process that ends when its standard input does."""
    return await anyio.open_process(["cat"], stdout=subprocess.DEVNULL, stderr=None)


async def end(process: Process) -> None:
    assert process.stdin is not None
    await process.stdin.aclose()


async def output(*command: str) -> str:
    return (await anyio.run_process([*command])).stdout.decode()


def without_pidfd(monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    """Make process descriptors fail with an error, or not exist."""

    def refuse(pid: int, flags: int = 0) -> int:
        assert code is not None
        raise OSError(code, os.strerror(code))

    if code is None:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    else:
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)


WAYS = {
    "pidfd": 0,
    "no pidfd": None,
    "no pidfd, no waitid": None,  # macOS before Python 3.13, PyPy
    "old kernel": errno.ENOSYS,
    "no descriptor": errno.EMFILE,
}


@pytest.fixture(params=WAYS)
def way_to_wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way to wait for the end of a process."""
    if WAYS[request.param] != 0:
        without_pidfd(monkeypatch, WAYS[request.param])
    if "no waitid" in request.param:
        monkeypatch.delattr(os, "waitid", raising=False)


@pytest.mark.usefixtures("way_to_wait")
def test_any_number_of_tasks_may_wait_for_the_end(run: Run[None]) -> None:
    async def main() -> None:
        async with await sleeper() as process, anyio.create_task_group() as tasks:
            waiting = [tasks.create_task(process.wait()) for _ in range(3)]
            await anyio.wait_all_tasks_blocked()
            process.terminate()
            codes = [await each for each in waiting]

        assert codes == [-signal.SIGTERM] * 3
        assert process.returncode == -signal.SIGTERM

    run(main)


@pytest.mark.usefixtures("way_to_wait")
def test_who_gives_up_waiting_does_not_keep_the_others_from_it(run: Run[None]) -> None:
    async def main() -> None:
        async with await sleeper() as process, anyio.create_task_group() as tasks:
            impatient = tasks.create_task(process.wait())
            await anyio.wait_all_tasks_blocked()
            patient = tasks.create_task(process.wait())
            await anyio.wait_all_tasks_blocked()
            impatient.cancel()
            await anyio.wait_all_tasks_blocked()
            await end(process)

            assert await patient == 0

    run(main)


@pytest.mark.usefixtures("way_to_wait")
def test_waiting_again_and_again_piles_nothing_up(run: Run[None]) -> None:
    async def main() -> None:
        async with await sleeper() as process:
            with anyio.move_on_after(0.001):
                await process.wait()
            before = threading.active_count(), open_descriptors()
            for _ in range(5):
                with anyio.move_on_after(0.001):
                    await process.wait()
            assert (threading.active_count(), open_descriptors()) == before
            await end(process)

    run(main)


@pytest.mark.usefixtures("way_to_wait")
def test_a_run_may_end_before_a_process_that_was_waited_for(run: Run[None]) -> None:
    processes: list[Process] = []

    async def main() -> None:
        processes.append(await sleeper())
        with anyio.move_on_after(0.001):
            await processes[0].wait()
        process = processes[0]
        assert process.stdin is not None
        # Not to be waited for, and not to be left running either.
        process.terminate()
        await process.stdin.aclose()

    run(main)
    while processes[0].returncode is None:  # a thread may be about to take the status
        time.sleep(0.001)

    assert processes[0].returncode == -signal.SIGTERM


def test_the_end_of_a_child_is_seen_without_waiting(run: Run[None]) -> None:
    async def main() -> None:
        async with await sleeper() as process:
            assert process.returncode is None
            assert "running" in repr(process)
            process.kill()
            while process.returncode is None:
                await anyio.sleep(0.001)
            assert process.returncode == -signal.SIGKILL
            assert "returncode=-9" in repr(process)

    run(main)


def test_a_child_that_somebody_else_has_reaped_is_not_waited_for_in_vain(run: Run[None]) -> None:
    async def main() -> None:
        async with await sleeper() as process:
            await end(process)
            await anyio.to_thread.run_sync(os.waitpid, process.pid, 0)

            assert await process.wait() == 0

    run(main)


@needs_pidfd
def test_a_child_that_was_reaped_has_ended_and_no_thread_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(self: ThreadExit, kernel: object) -> None:
        raise AssertionError("a thread was asked to wait")

    monkeypatch.setattr(ThreadExit, "wait", refuse)
    child = subprocess.Popen(["true"])
    child.wait()

    async def main() -> None:
        await process_exit(child).wait(running_kernel())

    anyio.run(main, backend="mio")


def test_signals_to_one_that_has_ended_do_nothing(run: Run[None]) -> None:
    async def main() -> None:
        async with await anyio.open_process(["true"]) as process:
            await process.wait()
            process.terminate()
            process.kill()
            process.send_signal(signal.SIGINT)

            assert process.returncode == 0

    run(main)


def test_only_our_ends_of_the_pipes_do_not_block(run: Run[None]) -> None:
    code = "import os; print([os.get_blocking(fd) for fd in (0, 1, 2)])"

    async def main() -> None:
        assert await output(*PYTHON, code) == "[True, True, True]\n"

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_child_inherits_none_of_our_descriptors(run: Run[None]) -> None:
    async def main() -> None:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1"),
            await sleeper() as other,
        ):
            listed = await output(*PYTHON, "import os; print(len(os.listdir('/proc/self/fd')))")
            await end(other)

        assert listed == "4\n"  # the three, and the one that lists

    run(main)


@pytest.mark.parametrize(
    "command", ["echo $((1 + 1))", b"echo $((1 + 1))", ["echo", "2"], [b"echo", Path("2")]]
)
def test_a_string_goes_through_the_shell_and_a_sequence_does_not(
    run: Run[None],
    command: str | bytes | list[str | bytes | Path],
) -> None:
    async def main() -> None:
        assert (await anyio.run_process(command)).stdout == b"2\n"

    run(main)


def test_a_path_goes_through_the_shell(run: Run[None], tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho 2\n")
    script.chmod(0o700)

    async def main() -> None:
        assert (await anyio.run_process(script)).stdout == b"2\n"

    run(main)


def test_errors_may_go_with_the_output(run: Run[None]) -> None:
    async def main() -> None:
        async with await anyio.open_process(
            "echo out; echo err >&2", stderr=subprocess.STDOUT
        ) as process:
            assert process.stderr is None
            assert process.stdout is not None
            lines = b"".join([chunk async for chunk in process.stdout])

        assert lines == b"out\nerr\n"

    run(main)


def test_one_that_cannot_be_started_leaves_nothing_open(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await anyio.open_process([str(tmp_path / "nothing")])
        with pytest.raises(NotADirectoryError):
            await anyio.open_process(["true"], cwd="/dev/null")
        with pytest.raises(PermissionError):
            await anyio.open_process([str(tmp_path)])

    run(main)


def test_one_is_not_started_when_cancelled_already(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.open_process(["touch", str(tmp_path / "started")])

        assert scope.cancelled_caught
        assert not (tmp_path / "started").exists()

    run(main)


def test_an_end_of_a_pipe_that_nobody_closed_is_closed_without_a_warning(run: Run[None]) -> None:
    async def main() -> None:
        process = await anyio.open_process(["true"])
        await process.wait()

    run(main)


@pytest.mark.parametrize("fails", [False, True])
def test_the_workers_of_a_process_pool_end_with_the_run(run: Run[None], fails: bool) -> None:
    workers: list[int] = []

    async def main() -> None:
        workers.append(await anyio.to_process.run_sync(os.getpid))
        if fails:
            raise ZeroDivisionError

    if fails:
        with pytest.raises(ZeroDivisionError):
            run(main)
    else:
        run(main)

    with pytest.raises(ProcessLookupError):
        os.kill(workers[0], 0)


def test_a_process_starts_where_blocking_calls_are_refused_and_asyncio_goes_on() -> None:
    # blockbuster refuses them where asyncio has a running loop, as in a task of mio.
    async def main() -> tuple[bytes, bool]:
        before = asyncio.current_task()
        with blockbuster.blockbuster_ctx():
            process = await anyio.run_process(["echo", "hello"])
            await anyio.to_thread.run_sync(int)
        return process.stdout, asyncio.current_task() is before

    assert anyio.run(main, backend="mio") == (b"hello\n", True)
