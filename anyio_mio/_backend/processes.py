"""Child processes: starting them, their streams, their end.

A process is started in the loop's own thread. That takes 0.2 ms (measured, Linux, CPython 3.11). A
worker thread would cost more than it saves: 0.1 ms for the call into the thread, and CPython holds
the interpreter's lock while it forks, with ``vfork()`` until the child's program runs. If Popen
must really fork, to change the user or the group, the time grows with the program's memory (18 ms
at 500 MiB), and CPython holds the lock then, too.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import IO, Any, Final, Protocol, TypeAlias, final

import anyio
import anyio.abc
from anyio.abc import ByteReceiveStream, ByteSendStream

from anyio_mio._backend.detection import without_asyncio_loop
from anyio_mio._backend.synchronization import Event, Lock
from anyio_mio._backend.thread_pipes import ThreadPipeReceiveStream, ThreadPipeSendStream
from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio._kernel.worker_threads import Job
from anyio_mio._net.pipes import PipeReceiveStream, PipeSendStream

StrOrBytesPath: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"

PIPES_ARE_POLLED: Final = sys.platform != "win32"
"""Whether the poller can wait for pipes. Otherwise threads read and write."""


@final
class Process(anyio.abc.Process):
    """A child process and our ends of its standard streams."""

    def __init__(
        self, popen: subprocess.Popen[bytes], pipes: dict[str, int], kernel: Kernel
    ) -> None:
        self._popen = popen
        self._exit = process_exit(popen)
        stdin, stdout, stderr = map(pipes.get, ("stdin", "stdout", "stderr"))
        self._stdin = None if stdin is None else send_stream(stdin, kernel)
        self._stdout = None if stdout is None else receive_stream(stdout, kernel)
        self._stderr = None if stderr is None else receive_stream(stderr, kernel)

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode={self.returncode}"
        return f"<Process pid={self.pid} {state}>"

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; None while the process runs. Asked of the system each time."""
        return self._popen.poll()

    @property
    def stdin(self) -> ByteSendStream | None:
        """Writes to the standard input, if that is a pipe."""
        return self._stdin

    @property
    def stdout(self) -> ByteReceiveStream | None:
        """Reads the standard output, if that is a pipe."""
        return self._stdout

    @property
    def stderr(self) -> ByteReceiveStream | None:
        """Reads the standard error, if that is a pipe of its own."""
        return self._stderr

    async def wait(self) -> int:
        """Wait until the process has ended, even if other processes still hold its pipes.

        Returns:
            The exit code; negative if a signal killed it.

        Checkpoint: always. Cancellation: the process continues to run.
        """
        kernel = running_kernel()
        await kernel.checkpoint()
        while (code := self._popen.poll()) is None:
            await self._exit.wait(kernel)
        return code

    async def aclose(self) -> None:
        """Close the streams, then wait for the end of the process.

        Cancellation: the process is killed and reaped first.
        """
        with anyio.CancelScope(shield=True):
            for stream in (self._stdin, self._stdout, self._stderr):
                if stream is not None:
                    await stream.aclose()
        try:
            await self.wait()
        except BaseException:
            self.kill()
            with anyio.CancelScope(shield=True):
                await self.wait()
            raise

    def terminate(self) -> None:
        """Send SIGTERM; does nothing if the process has ended, as `kill()` and `send_signal()`."""
        self._popen.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._popen.kill()

    def send_signal(self, signal: int) -> None:
        """Send a signal."""
        self._popen.send_signal(signal)


async def open_process(
    command: StrOrBytesPath | Sequence[StrOrBytesPath],
    *,
    stdin: int | IO[Any] | None,
    stdout: int | IO[Any] | None,
    stderr: int | IO[Any] | None,
    **options: Any,
) -> Process:
    """Start a process: a string or path through the shell, a sequence as it is.

    Args:
        command: what to run.
        stdin: ``PIPE``, ``DEVNULL``, a descriptor or a file; None to inherit ours.
        stdout: the same.
        stderr: the same, or ``STDOUT``.
        options: further arguments for `subprocess.Popen`.

    Raises:
        OSError: it could not be started; nothing is left open.

    Checkpoint: always, before it starts.
    """
    kernel = running_kernel()
    await kernel.checkpoint()
    is_shell = isinstance(command, (str, bytes, os.PathLike))
    with without_asyncio_loop(kernel), Pipes() as pipes:
        popen = subprocess.Popen(  # noqa: ASYNC220 - see the module's docstring
            os.fsdecode(command) if is_shell else command,  # type: ignore[arg-type]
            stdin=pipes.child_end("stdin", stdin),
            stdout=pipes.child_end("stdout", stdout),
            stderr=pipes.child_end("stderr", stderr),
            shell=is_shell,
            **options,
        )
        return Process(popen, pipes.give_away(), kernel)


def send_stream(fd: int, kernel: Kernel) -> ByteSendStream:
    """Return the stream for the writing end of a pipe."""
    if PIPES_ARE_POLLED:
        return PipeSendStream(fd, kernel.reactor)
    return ThreadPipeSendStream(fd, kernel)


def receive_stream(fd: int, kernel: Kernel) -> ByteReceiveStream:
    """Return the stream for the reading end of a pipe."""
    if PIPES_ARE_POLLED:
        return PipeReceiveStream(fd, kernel.reactor)
    return ThreadPipeReceiveStream(fd, kernel)


@final
class Pipes:
    """The pipes to a process that is being started.

    The child's ends are always closed, our ends unless another object owns them. Popen's own pipes
    would be file objects, which warn if they are collected open.
    """

    def __init__(self) -> None:
        self._ours: dict[str, int] = {}
        self._theirs: list[int] = []

    def __enter__(self) -> Pipes:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for fd in (*self._theirs, *self._ours.values()):
            os.close(fd)

    def child_end(self, name: str, how: int | IO[Any] | None) -> int | IO[Any] | None:
        """Return the standard stream of the child; a new pipe if ``how`` is PIPE."""
        if how != subprocess.PIPE:
            return how
        reading, writing = os.pipe()
        ours, theirs = (writing, reading) if name == "stdin" else (reading, writing)
        self._ours[name] = ours
        self._theirs.append(theirs)
        return theirs

    def give_away(self) -> dict[str, int]:
        """Return our ends, by the stream's name; the caller closes them."""
        ours, self._ours = self._ours, {}
        return ours


def kill_at_shutdown(workers: set[anyio.abc.Process]) -> None:
    """Wait for the end of the run; then kill and close the processes in the set."""
    running_kernel().at_shutdown.append(partial(kill_all, workers))


async def kill_all(workers: set[anyio.abc.Process]) -> None:
    """Kill and close each process, shielded from cancellation."""
    with anyio.CancelScope(shield=True):
        for process in workers:
            process.kill()
        while workers:
            await workers.pop().aclose()


class ProcessExit(Protocol):
    """The end of one child process."""

    async def wait(self, kernel: Kernel) -> None:
        """Wait until the process has probably ended. Any number of tasks may wait."""


def process_exit(popen: subprocess.Popen[bytes]) -> ProcessExit:
    """Return the best way to wait on this system."""
    return DescriptorExit(popen) if hasattr(os, "pidfd_open") else ThreadExit(popen)


def open_pidfd(pid: int) -> int:
    """Return a descriptor of a process, which is readable when the process has ended."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return os.pidfd_open(pid)


@final
class DescriptorExit:
    """Waits on a descriptor that is open only while a task waits."""

    __slots__ = ("_fallback", "_lock", "_pid")

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._pid = popen.pid
        self._lock = Lock(fast_acquire=True)
        self._fallback = ThreadExit(popen)

    async def wait(self, kernel: Kernel) -> None:
        """See `ProcessExit`."""
        async with self._lock:  # a descriptor has one waiter; the next finds the process gone
            try:
                fd = open_pidfd(self._pid)
            except ProcessLookupError:
                return
            except OSError:  # an old kernel, a sandbox, or no descriptor left
                await self._fallback.wait(kernel)
                return
            try:
                await kernel.reactor.foreign.wait_readable(fd)
            finally:
                kernel.reactor.foreign.notify_closing(fd)
                os.close(fd)


@final
class ThreadExit:
    """Waits in a worker thread."""

    __slots__ = ("_ended", "_popen")

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self._ended: Event | None = None

    async def wait(self, kernel: Kernel) -> None:
        """See `ProcessExit`."""
        if self._ended is None:
            self._ended = Event()
            # A system task, so that a cancelled waiter leaves no thread behind for each attempt.
            name = f"wait for process {self._popen.pid}"
            kernel.spawn_system(self._watch(kernel, self._ended), name)
        await self._ended.wait()

    async def _watch(self, kernel: Kernel, ended: Event) -> None:
        await Job(kernel, partial(wait_for_exit, self._popen), abandon_on_cancel=True).run()
        ended.set()


def wait_for_exit(popen: subprocess.Popen[bytes]) -> None:
    """Block until the child has ended; return at once if it has been reaped.

    If the system allows it, ``Popen.poll()`` reads the exit status later, so that a signal never
    reaches another process with the same number. Otherwise Popen waits here and reads it.
    """
    if sys.platform == "win32" or sys.platform == "darwin" or not hasattr(os, "waitid"):
        popen.wait()
        return
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
