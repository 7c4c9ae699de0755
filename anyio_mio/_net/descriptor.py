"""What sockets and pipes share: a registration, closing, and the exception for a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyio_mio._reactor.registration import Registration
    from anyio_mio._reactor.scheduler import Scheduler


class Descriptor:
    """A descriptor of ours: registered lazily, closed once.

    A subclass releases the descriptor in `_release()`, after which operations on it must fail with
    EBADF: the number itself may belong to somebody else by then.
    """

    __slots__ = ("_is_closed", "_registration", "_scheduler")

    def __init__(self, registration: Registration) -> None:
        self._scheduler: Scheduler = registration.reactor.scheduler
        self._registration = registration
        self._is_closed = False

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"fd={self._registration.fd}"
        return f"<{type(self).__name__} {state}>"

    async def aclose(self) -> None:
        """Close the descriptor at once, wake whoever waits on it, then pass a checkpoint.

        Safe to call again, and while cancelled: the descriptor is released in any case.
        """
        self._close()
        scheduler = self._scheduler
        if scheduler.budget <= 0:
            await scheduler.checkpoint()
        scheduler.budget -= 1

    def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            registration = self._registration
            registration.close()
            self._release()
            if registration.reactor.starving:
                for has_room in registration.reactor.starving:
                    has_room()

    def _release(self) -> None:
        """Close the descriptor itself."""
        raise NotImplementedError

    def _translate(self, error: OSError) -> Exception:
        """The exception for a failed operation; raise it ``from`` the error unless it is closed."""
        errors = self._scheduler.errors
        if self._is_closed:
            return errors.closed()
        broken = errors.broken()
        broken.__cause__ = error
        return broken
