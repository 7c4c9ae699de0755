"""For debugging: sockets that are not closed or open too long, and where they were made.

Facts. Python closes a dropped socket at some time, and its warning does not say where the socket
was made. A connection that is kept in a list is not even dropped.

Decision. While a run is watched, `Descriptor`'s ``__init__()`` and ``_close()`` are replaced by
functions that note the stack. So nothing of it costs anything while no run is watched.

Cost. While one is, some 40 µs and four system calls for each socket.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, final

from anyio_mio._kernel.kernel import Kernel
from anyio_mio._kernel.task_tree import frames_of
from anyio_mio._net.socket_base import Descriptor
from anyio_mio._net.socket_names import describe_descriptor
from anyio_mio._net.streams import SocketStream

LOGGER: Final = logging.getLogger("anyio_mio.debug")

PACKAGE: Final = str(Path(__file__).resolve().parents[1])
DEEPEST: Final = 12
"""The number of innermost frames that are kept of each stack."""

LOOKS_PER_LIMIT: Final = 4
SHORTEST_PAUSE: Final = 0.05


@dataclass(slots=True, eq=False)
class OpenSocket:
    """A socket or pipe that was not closed yet.

    Attributes:
        words: such as ``"TCP 127.0.0.1:8000 from 127.0.0.1:51234"``.
        since: the time at which it was made, by `time.monotonic()`.
        stack: where it was made, the outermost frame first.
        is_connection: whether it is a stream between two sockets.
        is_told: whether its age was logged.
        reference: the socket itself.
    """

    words: str
    since: float
    stack: traceback.StackSummary
    is_connection: bool
    is_told: bool
    reference: weakref.ref[Descriptor]


@final
class OpenSockets:
    """Watches the sockets of one run; a context manager around the run.

    Args:
        kernel: the run.
        oldest: seconds after which a connection that is still open is logged; 0 for never.
    """

    def __init__(self, kernel: Kernel, oldest: float = 0.0) -> None:
        self._kernel = kernel
        self._oldest = oldest
        self._found: dict[int, OpenSocket] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="anyio_mio debug", daemon=True)

    def __enter__(self) -> OpenSockets:
        with LOCK:
            watched[id(self._kernel.reactor)] = self
            Descriptor.__init__ = note_and_init  # type: ignore[method-assign]
            Descriptor._close = forget_and_close  # type: ignore[method-assign]
        if self._oldest:
            self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with LOCK:
            del watched[id(self._kernel.reactor)]
            if not watched:
                Descriptor.__init__ = PLAIN_INIT  # type: ignore[method-assign]
                Descriptor._close = PLAIN_CLOSE  # type: ignore[method-assign]
        self._ended.set()
        if self._oldest:
            self._thread.join()
        for each in self._found.values():
            tell("%s is still open at the end of the run; it was made here:\n%s", each)
        self._found.clear()

    def note(self, descriptor: Descriptor) -> None:
        """Keep a socket that was made."""
        key = id(descriptor)
        self._found[key] = OpenSocket(
            words=describe_descriptor(descriptor._registration.fd, "").removeprefix(" on "),
            since=time.monotonic(),
            stack=stack_here(self._kernel),
            is_connection=isinstance(descriptor, SocketStream),
            is_told=False,
            reference=weakref.ref(descriptor, lambda _: self._drop(key)),
        )

    def forget(self, descriptor: Descriptor) -> None:
        """Drop a socket that is closed."""
        self._found.pop(id(descriptor), None)

    def _drop(self, key: int) -> None:
        """Log a socket that was collected, if it was not closed before."""
        each = self._found.pop(key, None)
        if each is not None:
            tell("%s was never closed; it was made here:\n%s", each)

    def _watch(self) -> None:
        pause = max(self._oldest / LOOKS_PER_LIMIT, SHORTEST_PAUSE)
        while not self._ended.wait(pause):
            now = time.monotonic()
            for each in list(self._found.values()):  # one step for the interpreter
                if each.is_connection and not each.is_told and now - each.since >= self._oldest:
                    each.is_told = True
                    age = f"%s has been open for {now - each.since:.1f} s; it was made here:\n%s"
                    tell(age, each)


LOCK: Final = threading.Lock()

watched: Final[dict[int, OpenSockets]] = {}
"""For the ``id`` of each reactor, the watcher of its sockets."""

PLAIN_INIT: Final = Descriptor.__init__
PLAIN_CLOSE: Final = Descriptor._close


def note_and_init(self: Descriptor, registration: Any) -> None:
    """Take the place of `Descriptor.__init__()` while a run is watched."""
    PLAIN_INIT(self, registration)
    sockets = watched.get(id(registration.reactor))
    if sockets is not None:
        sockets.note(self)


def forget_and_close(self: Descriptor) -> None:
    """Take the place of `Descriptor._close()` while a run is watched."""
    sockets = watched.get(id(self._registration.reactor))
    if sockets is not None:
        sockets.forget(self)
    PLAIN_CLOSE(self)


def stack_here(kernel: Kernel) -> traceback.StackSummary:
    """Return the program's stack: the parent's of the task that runs, then its own.

    AnyIO connects in a child task, whose own stack says nothing of the program. Frames of this
    package at the inner end are left out.
    """
    frames = [*frames_of_parent(kernel), *frames_of_step(kernel)]
    while len(frames) > 1 and frames[-1].f_code.co_filename.startswith(PACKAGE):
        frames.pop()
    lines = ((frame, frame.f_lineno) for frame in frames[-DEEPEST:])
    return traceback.StackSummary.extract(lines, lookup_lines=False)


def frames_of_parent(kernel: Kernel) -> Iterator[FrameType]:
    """Yield where the parent of the task that runs waits, the outermost frame first."""
    if kernel.current is not None and kernel.current.host is not None:
        yield from frames_of(kernel.current.host.coro)


def frames_of_step(kernel: Kernel) -> list[FrameType]:
    """Return the frames of the step that runs, the outermost first."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not kernel.step_code:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def tell(text: str, each: OpenSocket) -> None:
    """Log one socket, with the place where it was made."""
    LOGGER.warning(text, each.words, "".join(each.stack.format()).rstrip())
