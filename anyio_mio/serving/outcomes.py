"""How handlers end: the counters, the log lines, and the errors that end the server.

A handler can end in five ways:

* It returns.
* The client has hung up, and the handler does not catch `BrokenResourceError` or `EndOfStream`.
  This is not an error of the program, so the server logs one line at DEBUG.
* It raises another exception. This is an error of the program: the server logs one line at ERROR
  with the traceback, and the other connections continue.
* It is cancelled, because the server stops.
* It asks to end the process (KeyboardInterrupt, SystemExit). The exception passes through.

A handler may also raise a cancellation that does not come from the server. It does so if it awaits
the result of a task that was cancelled elsewhere, and lets that task's exception pass. This counts
as an error of the program.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final, final

import anyio
from anyio.abc import SocketAttribute, SocketStream

from anyio_mio._net.logs import log

CLIENT_IS_GONE: Final = (anyio.BrokenResourceError, anyio.EndOfStream)

ENDS_THE_PROCESS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)

FAILED: Final = "the handler of the connection from %r failed"


@dataclass(frozen=True, slots=True)
class ServeSummary:
    """A summary of what a server did.

    Attributes:
        accepted: connections that were accepted.
        finished: handlers that returned, or ended because the client hung up.
        failed: handlers that raised an exception, and TLS handshakes that failed.
        cancelled: handlers that were cancelled, as when the grace period was over.
        shed: connections that were closed because they could not be served.
        aborted: connections that were gone before they could be served.
    """

    accepted: int
    finished: int
    failed: int
    cancelled: int
    shed: int
    aborted: int


@final
class Outcomes:
    """Counts how handlers ended, and logs those that failed.

    Attributes:
        finished: handlers that returned, or whose client hung up.
        failed: handlers that raised, and TLS handshakes that failed.
        cancelled: handlers that were cancelled by the server.
    """

    __slots__ = ("cancelled", "failed", "finished")

    def __init__(self) -> None:
        self.finished = self.failed = self.cancelled = 0

    def count(
        self, error: BaseException, stream: SocketStream, *, is_cancelled: bool, logs: bool
    ) -> None:
        """Count a handler that raised, and log what needs a line.

        Args:
            error: the exception.
            stream: the connection.
            is_cancelled: whether the server has cancelled its handlers.
            logs: whether to log; False if the program gets the exception.
        """
        fault = without_cancellation(error) if is_cancelled else error
        if fault is None:
            self.cancelled += 1
        elif consists_of(fault, CLIENT_IS_GONE):
            self.finished += 1
            log(logging.DEBUG, "the client %r hung up: %r", peer_of(stream), fault)
        else:
            self.failed += 1
            if logs:
                log(logging.ERROR, FAILED, peer_of(stream), exc_info=fault)

    def count_handshake(self, error: Exception, stream: SocketStream) -> None:
        """Count a failed TLS handshake. It is the client's error, so log it at DEBUG only."""
        self.failed += 1
        log(logging.DEBUG, "no TLS handshake from %r: %r", peer_of(stream), error)


def must_pass(error: BaseException) -> bool:
    """Return whether an exception asks for more than the end of one handler."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(ENDS_THE_PROCESS) is not None
    return isinstance(error, ENDS_THE_PROCESS)


def without_cancellation(error: BaseException) -> BaseException | None:
    """Return an exception without its cancellations; None if it consists of them only."""
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, BaseExceptionGroup):
        return error.split(cancelled)[1]
    return None if isinstance(error, cancelled) else error


def consists_of(error: BaseException, types: tuple[type[BaseException], ...]) -> bool:
    """Return whether an exception, or each exception of a group, has one of these types."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(types)[1] is None
    return isinstance(error, types)


def peer_of(stream: SocketStream) -> object:
    """Return the peer's address, or ``"unknown"``."""
    return stream.extra(SocketAttribute.remote_address, "unknown")


def close_stream(stream: Any) -> None:
    """Close a stream or listener; log one line if ``close()`` fails."""
    try:
        stream._close()
    except OSError as error:
        log_failed_close(stream, error)


def log_failed_close(stream: object, error: OSError) -> None:
    """Log that ``close()`` failed. The descriptor is released anyway, and the server continues.

    It fails if a handler has closed the descriptor by its number (EBADF), or a device below fails
    (EIO).
    """
    log(logging.ERROR, "closing %r failed: %s", stream, error)
