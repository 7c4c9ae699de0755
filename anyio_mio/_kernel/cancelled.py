"""`Cancelled`, and the messages for programs that use the kernel in a wrong way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, final


class Cancellation(BaseException):
    """The base of `Cancelled`. It makes it possible to add a second base; see `adopt()`."""


@final
class Cancelled(Cancellation):
    """Raised at a checkpoint in a cancelled scope. Do not catch it: the scope does.

    It is a `BaseException`, so that ``except Exception`` does not catch it. The message says what
    cancelled the scope: a deadline, or the task that called ``cancel()``, with its reason.
    """


adopted: tuple[type[BaseException], ...] = ()
"""asyncio's ``CancelledError``, after the program has loaded asyncio."""


def adopt(cancelled_error: type[BaseException]) -> None:
    """Make `Cancelled` a subclass of asyncio's ``CancelledError``, permanently.

    Libraries for asyncio clean up in ``except asyncio.CancelledError``, and must do so if a scope
    cancels them. So `Cancelled` gets that class as a second base. Code that got the class of
    cancellations earlier still catches it.

    Args:
        cancelled_error: ``asyncio.CancelledError``. It is passed, since this room does not import
            asyncio.
    """
    global adopted
    adopted = (cancelled_error,)
    Cancelled.__bases__ = (Cancellation, cancelled_error)


def is_cancellation(error: BaseException) -> bool:
    """Return whether an error is a cancellation, of a scope or of asyncio."""
    return isinstance(error, (Cancelled, adopted))


def uncover(error: BaseException | None) -> BaseException | None:
    """Return the error that a cancellation has replaced; if there is none, ``error``.

    If an error leaves a cancelled scope open, the clean-up that follows is cancelled, too. Then the
    error is the context of a `Cancelled` that does not belong to a scope around it.
    """
    cause = error
    while cause is not None and is_cancellation(cause):
        cause = cause.__context__
    return error if cause is None else cause


class Cancelling(Protocol):
    """A task's asyncio face, which can be cancelled by itself."""

    def has_requests(self) -> bool:
        """Return whether there are calls of ``cancel()`` that were not undone."""


def is_of_scope(error: BaseException, face: Cancelling | None) -> bool:
    """Return whether an error that leaves a cancelled scope is the scope's own.

    `Cancelled` always is. A library may turn it into a plain ``CancelledError``. But if the task
    was cancelled through its asyncio face, a ``CancelledError`` belongs to the caller of that
    ``cancel()``.
    """
    if isinstance(error, Cancelled):
        return True
    return isinstance(error, adopted) and not (face is not None and face.has_requests())


def scope_errors_of(face: Cancelling | None) -> Callable[[BaseException], bool]:
    """Return `is_of_scope()` for one task's face, as a function to split exception groups."""
    return lambda error: is_of_scope(error, face)  # split() accepts only a function


FOREIGN_AWAIT: Final = (
    "a task awaited {!r}, which does not belong to mio: it waits for another event loop.\n"
    "  wrong: await trio.sleep(1), or a future of asyncio's that was made before the run\n"
    "  right: await anyio.sleep(1), or a future that was made inside the run"
)
NO_TASK: Final = (
    "this operation can only wait inside a task of the run that the object belongs to.\n"
    "  wrong: awaiting a stream of one run in another thread, or after its run is over\n"
    "  right: from another thread, anyio.from_thread.run(stream.receive)"
)

WAIT_DROPPED: Final = (
    "other code has begun a wait of this task for the same descriptor and has dropped it; both "
    "waits were undone.\n"
    "  wrong: coroutine.send(None), or asyncio.run(coroutine), in a task of mio\n"
    "  right: await coroutine"
)

IN_ASYNCIO: Final = (
    "this operation of mio waits, and a task of asyncio cannot wait for it.\n"
    "  wrong: asyncio.create_task(use(stream))     # a stream of AnyIO's, made by mio\n"
    "  right: task_group.start_soon(use, stream)   # a task of mio can await asyncio's futures\n"
    "  right: await anyio_mio.asyncio.run_in_task(use, stream)   # in a task of asyncio"
)

OTHER_THREAD: Final = (
    "this was called from another thread, and the event loop would not notice it.\n"
    "  wrong: event.set(), scope.cancel() or task_group.start_soon(...) in a worker thread\n"
    "  right: anyio.from_thread.run_sync(event.set)"
)
