"""The addresses of `anyio-mio serve --metrics` and ``--health``: bound early, served beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final, final

from anyio_mio._supervisor.health import health_pages
from anyio_mio._supervisor.listening import ListeningSockets
from anyio_mio._supervisor.live import Task
from anyio_mio._supervisor.log import Log
from anyio_mio._supervisor.management import Management
from anyio_mio._supervisor.supervisor import Supervisor

BACKLOG: Final = 128


@final
class ManagementAddresses:
    """Where machines ask how the server is; a context manager.

    Args:
        metrics: the address that has the metrics and the health; None for none.
        health: an address that has the health only; None for none.
    """

    def __init__(self, metrics: str | None, health: str | None) -> None:
        self._stack = ExitStack()
        self._wanted: dict[str, bool] = {}
        if health is not None:
            self._wanted[health] = False
        if metrics is not None:
            self._wanted[metrics] = True
        self._bound: list[tuple[ListeningSockets, bool]] = []

    def __enter__(self) -> ManagementAddresses:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def bind(self, log: Log) -> None:
        """Listen.

        Raises:
            BindError: an address cannot be bound.
        """
        for text, has_metrics in self._wanted.items():
            sockets = self._stack.enter_context(ListeningSockets(1, BACKLOG, share=False))
            sockets.bind(text)
            self._bound.append((sockets, has_metrics))
            for address in sockets.addresses():
                log("metrics and health" if has_metrics else "health", address=address)

    def tasks(self, supervisor: Supervisor) -> Iterator[Task]:
        """Return what serves them."""
        for sockets, has_metrics in self._bound:
            pages = health_pages(supervisor.what_is_missing)
            if has_metrics:
                from anyio_mio._supervisor.server_metrics import ServerMetrics  # it needs an extra

                pages["/metrics"] = ServerMetrics(supervisor).page
            yield partial(Management(pages).serve, sockets.slots[0])
