"""The health pages of the management address."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from anyio_mio._supervisor.management import Answer, Page


def health_pages(what_is_missing: Callable[[], str]) -> dict[str, Page]:
    """Return the pages of a server's health.

    Args:
        what_is_missing: returns why the server is not ready; empty if it is.
    """

    async def live(accept: str) -> Answer:
        return Answer(b"ok\n")

    async def ready(accept: str) -> Answer:
        missing = what_is_missing()
        if missing:
            return Answer(f"not ready: {missing}\n".encode(), HTTPStatus.SERVICE_UNAVAILABLE)
        return Answer(b"ready\n")

    return {"/healthz": live, "/readyz": ready}
