"""Lifespan: the application starts before the first request, and ends after the last.

The application runs in a task of its own from startup to shutdown, so what it opens there belongs
to one task, as AnyIO asks of its cancel scopes.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Literal, final

import anyio
from anyio.abc import TaskGroup

from anyio_mio.asgi.bridge import ASYNCIO, LIBRARY, call_in_task
from anyio_mio.asgi.errors import ApplicationError, describe, unexpected
from anyio_mio.asgi.site import ASGI, Application

LOGGER: Final = logging.getLogger("anyio_mio.asgi")

STARTUP: Final = "lifespan.startup"
SHUTDOWN: Final = "lifespan.shutdown"

PATIENCE: Final = 10.0
"""Seconds after which the log says that the startup is not complete. The startup has no limit: it
may load a model or migrate a database."""


@final
class Lifespan:
    """The lifespan of one application.

    Args:
        app: the application.
        mode: ``"auto"``: if the application does not know lifespan, it is served without.
        state: what the application puts there is in each request's scope.
    """

    def __init__(
        self, app: Application, mode: Literal["auto", "on", "off"], state: dict[str, Any]
    ) -> None:
        self._app = app
        self._mode = mode
        self._state = state
        self._phase = ""  # the event that the application has to answer
        self._announced = ""  # the event that it has received
        self._answered = anyio.Event()
        self._shutdown = anyio.Event()
        self._ended = False
        self._was_called = False
        self._error: BaseException | None = None
        self._refusal: str | None = None

    async def start(self, group: TaskGroup) -> None:
        """Let the application start, as a task of ``group``.

        Raises:
            ApplicationError: it failed, or said that it did; the cause is its exception.
        """
        if self._mode == "off":
            return
        self._phase = STARTUP
        group.start_soon(self._run, name=f"lifespan of {describe(self._app)}")
        with anyio.move_on_after(PATIENCE):
            await self._answered.wait()
        if not self._answered.is_set():
            name = describe(self._app)
            LOGGER.warning("%s has not answered %r after %g s", name, STARTUP, PATIENCE)
            await self._answered.wait()
        if self._refusal is not None:
            raise ApplicationError(f"{describe(self._app)} failed to start: {self._refusal}")
        if self._ended:
            self._judge_early_end()

    def _judge_early_end(self) -> None:
        """Judge an application that ended early: it has no lifespan, or it failed."""
        name = describe(self._app)
        if self._cannot_be_called():
            raise ApplicationError(
                f"{name} is not an ASGI application: {self._error}\n"
                "  right: async def app(scope, receive, send): ..."
            ) from self._error
        if self._mode == "on":
            raise ApplicationError(
                f"{name} ended before it sent 'lifespan.startup.complete'\n"
                "  right: answer 'lifespan.startup', or serve it with lifespan='off'"
            ) from self._error
        if self._announced and self._error is not None:
            LOGGER.warning(
                "%s failed after %r and is served without it; lifespan='on' would refuse it",
                name,
                STARTUP,
                exc_info=self._error,
            )
            return
        LOGGER.debug("%s does not know lifespan", name, exc_info=self._error)

    def _cannot_be_called(self) -> bool:
        """Return whether the call itself failed, and not the application in it."""
        error = self._error
        if self._was_called or not isinstance(error, TypeError):
            return False
        return error.__traceback__ is not None and error.__traceback__.tb_next is None

    async def stop(self, timeout: float) -> bool:
        """Let the application shut down; False if it failed or took longer than ``timeout``."""
        if self._ended or not self._phase:
            return True
        self._phase = SHUTDOWN
        self._answered = anyio.Event()
        self._shutdown.set()
        with anyio.move_on_after(timeout) as scope:
            await self._answered.wait()
        name = describe(self._app)
        if scope.cancelled_caught:
            LOGGER.error("%s did not answer 'lifespan.shutdown' within %g s", name, timeout)
            return False
        if self._refusal is not None:
            LOGGER.error("%s failed to shut down: %s", name, self._refusal)
        return self._refusal is None and self._error is None

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {**ASGI, "spec_version": "2.0"}, "state": self._state}
        try:
            call = self._app(scope, self._receive, self._send)
            self._was_called = True
            await call
        except Exception as error:
            self._error = error
            if self._phase == SHUTDOWN or self._announced == "complete":
                LOGGER.error("%s failed in its lifespan", describe(self._app), exc_info=error)
        finally:
            self._ended = True
            self._answered.set()

    async def _receive(self) -> dict[str, str]:
        if LIBRARY.name == ASYNCIO:
            return await call_in_task(self._receive)
        if not self._announced:
            self._announced = STARTUP
            return {"type": STARTUP}
        await self._shutdown.wait()
        await anyio.lowlevel.checkpoint()
        return {"type": SHUTDOWN}

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message.get("type") if isinstance(message, dict) else None
        if not self._phase or self._answered.is_set() or kind not in self._answers():
            raise unexpected(
                self._app, message, f"in {self._phase!r}", " or ".join(map(repr, self._answers()))
            )
        if kind.endswith(".failed"):
            self._refusal = str(message.get("message", "")) or "it gave no reason"
        elif self._phase == STARTUP:
            self._announced = "complete"
        self._answered.set()

    def _answers(self) -> tuple[str, str]:
        return f"{self._phase}.complete", f"{self._phase}.failed"
