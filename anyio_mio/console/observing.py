"""Open a console for each run of this process, and print the task tree on a signal."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, final

from anyio_mio._backend.options import DEBUG_SLOW_STEP, watch_sockets
from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.run import living_kernels, observers
from anyio_mio._kernel.task_tree import take_picture
from anyio_mio._kernel.watchdog import Watchdog
from anyio_mio._net.socket_names import describe_descriptor
from anyio_mio.console.client import default_directory, is_dead, is_socket
from anyio_mio.console.pictures import ask, ask_for_tree, look_from_outside
from anyio_mio.console.protocol import tree_to_json
from anyio_mio.console.rendering import render_tree
from anyio_mio.console.server import ConsoleError, ConsoleServer
from anyio_mio.lowlevel import statistics_of

LOGGER: Final = logging.getLogger("anyio_mio.console")
VARIABLE: Final = "ANYIO_MIO_CONSOLE"
NO_RUN: Final = "mio runs nothing in this process, so there is no task tree\n"
SECONDS_TO_WRITE: Final = 1.0
"""How long standard error may take nothing, where it does not block by itself."""
STARTED: Final = time.time()


@final
class Observed:
    """What a console answers about one run."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def answers(self) -> dict[str, Any]:
        """Return the questions and their answers, for `ConsoleServer`."""
        return {"stats": self.stats, "tree": self.tree}

    def tree(self) -> dict[str, Any]:
        """Return all tasks, and the deadlocks among them."""
        tree, is_stuck = ask_for_tree(self._kernel)
        return tree_to_json(tree, is_stuck=is_stuck)

    def stats(self) -> dict[str, Any]:
        """Return the figures of the run and of its process."""
        figures, lag = ask(self._kernel, self._figures)
        return {**figures, "lag": lag, **process_figures()}

    def _figures(self) -> dict[str, Any]:
        kernel = self._kernel
        now = statistics_of(kernel)
        return {
            "name": "" if kernel.main is None else kernel.main.name,
            "tasks": now.tasks,
            "runnable": now.runnable,
            "deadlines": now.deadlines,
            "registrations": now.reactor.registrations,
            "events": now.reactor.events,
            "stale_events": now.reactor.stale_events,
            "tasks_waiting": now.reactor.tasks_waiting,
            "polls": kernel.turns,
            "slow_steps": kernel.slow_steps,
            "listeners": [listener_figures(each) for each in now.listeners],
        }


def listener_figures(listener: Any) -> dict[str, Any]:
    """Return one listener, as an object for JSON."""
    figures = listener.statistics
    return {
        "address": listener.address,
        "accepted": figures.accepted,
        "accepts_per_wakeup": {str(k): n for k, n in figures.accepts_per_wakeup.items()},
        "aborted": figures.aborted,
        "backed_off": figures.backed_off,
        "shed": figures.shed,
        "open": figures.open,
    }


def process_figures() -> dict[str, Any]:
    """Return what concerns the process and not one run."""
    workers = [t for t in threading.enumerate() if t.name == "anyio_mio worker"]
    return {
        "pid": os.getpid(),
        "uptime": time.time() - STARTED,
        "worker_threads": len(workers),
        "memory": resident_bytes(),
    }


def resident_bytes() -> int:
    """Return the process's memory in bytes; its peak where the system does not say."""
    if sys.platform == "win32":
        return 0
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def open_console(kernel: Kernel, path: str) -> Iterator[None]:
    """Open a console for one run, while it lasts. If that fails, say so and run without one."""
    observed = Observed(kernel)
    with contextlib.ExitStack() as stack:
        try:
            server = ConsoleServer(free_path(path), observed.answers())
            stack.enter_context(server)
            LOGGER.info("the console of this run is %s", server.path)
        except (ConsoleError, OSError) as error:
            LOGGER.warning("there is no console: %s", error)
        yield


def free_path(path: str) -> str:
    """Return the path of a new socket: the path itself, or a name of our own in the directory."""
    directory = Path(path)
    if path in ("1", "true", "yes"):
        directory = default_directory()
    elif not (path.endswith(("/", os.sep)) or directory.is_dir()):
        return path
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and directory.stat().st_uid not in (os.getuid(), 0):
        raise ConsoleError(f"{directory} belongs to another user\n  right: a directory of yours")
    remove_what_was_left(directory)
    names = [f"{os.getpid()}.sock", *(f"{os.getpid()}-{n}.sock" for n in range(2, 100))]
    return next(str(directory / name) for name in names if not (directory / name).exists())


def remove_what_was_left(directory: Path) -> None:
    """Remove the sockets of processes that were killed.

    Both must hold: there is no such process, and nothing answers. A process of another container
    may be out of sight, and one that has just made its socket does not answer yet.
    """
    for path in directory.glob("[0-9]*.sock"):
        with contextlib.suppress(OSError, ValueError):
            if is_socket(path) and is_dead(path) and has_ended(int(path.stem.partition("-")[0])):
                path.unlink()


def has_ended(pid: int) -> bool:
    """Return whether there is no such process, as far as can be seen from here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def observe_runs(path: str) -> None:
    """Open a console for each run of this process from now on.

    Args:
        path: the socket, or a directory (with a slash at its end, if it does not exist) in which
            each run has a socket of its own; ``"1"`` for the default directory.
    """

    def observe(kernel: Kernel) -> contextlib.AbstractContextManager[None]:
        return open_console(kernel, path)

    observers.append(observe)


def watch_runs(
    *, slow_step: float | None = None, old_connection: float = 0.0, debug: bool = False
) -> None:
    """Watch each run of this process from now on, as the options of these names do for one run.

    Args:
        slow_step: seconds after which a step that blocks a loop is logged; None for 0.1 with
            ``debug``, and for never without.
        old_connection: seconds after which a connection that is still open is logged; 0 for never.
        debug: whether sockets that are never closed are logged.
    """
    if slow_step is None:
        slow_step = DEBUG_SLOW_STEP if debug else 0.0
    if slow_step:
        observers.append(partial(Watchdog, limit=slow_step))
    if debug or old_connection:
        observers.append(partial(watch_sockets, oldest=old_connection))


@contextlib.contextmanager
def tree_on_signal(number: int | None = None) -> Iterator[None]:
    """Print the task trees of this process's runs to standard error whenever a signal comes.

    A handler of Python runs between two lines of the main thread, also while that thread is in
    `time.sleep()` or waits for a lock. It cannot run inside a function in C that does not return.

    Args:
        number: the signal; SIGUSR1 by default, and nothing happens where the system has none.
    """
    if number is None:
        number = getattr(signal, "SIGUSR1", None)
    if number is None:
        yield
        return
    previous = signal.signal(number, print_trees)
    try:
        yield
    finally:
        signal.signal(number, previous)


def render_trees() -> str:
    """Return the task tree of each run of this process as text; empty if mio does not run."""
    trees = []
    for kernel in list(living_kernels):
        look = partial(take_picture, kernel, describe_descriptor)
        trees.append(render_tree(look_from_outside(look)))
    return "\n".join(trees)


@final
class TreePrinter:
    """Prints the task tree of each run of this process to standard error; a signal's handler.

    A signal that comes while it prints is left out: handlers of Python run inside each other, and a
    flood of signals would be a recursion without end. What fails is left out too: an error would be
    raised wherever the main thread is.

    Attributes:
        wakes_no_task: tells the search for deadlocks that this handler ends no wait.
    """

    wakes_no_task: Final = True

    def __init__(self) -> None:
        self._is_printing = False

    def __call__(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Print them."""
        if self._is_printing:
            return
        self._is_printing = True
        try:
            write_to_stderr(render_trees() or NO_RUN)
        except Exception:  # noqa: BLE001 - see above
            with contextlib.suppress(Exception):
                write_to_stderr(f"the task tree cannot be printed:\n{traceback.format_exc()}")
        finally:
            self._is_printing = False


print_trees: Final = TreePrinter()


def write_to_stderr(text: str) -> None:
    """Write all of a text, past Python's buffers: a signal may come during a `print()`."""
    fd = sys.__stderr__.fileno() if sys.__stderr__ else 2
    rest = memoryview(text.encode(errors="backslashreplace"))
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # the descriptor is shared with a process that made it so
            if not is_writable(fd, SECONDS_TO_WRITE):
                return


def is_writable(fd: int, seconds: float) -> bool:
    """Wait until a descriptor takes more; False if it has not after so many seconds."""
    # poll() needs no descriptor of its own, and takes those above 1,023.
    selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
    with selector:
        selector.register(fd, selectors.EVENT_WRITE)
        return bool(selector.select(seconds))
