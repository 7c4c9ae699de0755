"""The access log: one line for each answer, on the logger ``anyio_mio.access``."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final, Literal, final

LOGGER: Final = logging.getLogger("anyio_mio.access")


@final
class AccessLog:
    """Writes lines, plain or JSON.

    A plain line is ``127.0.0.1:50000 "GET /path?q HTTP/1.1" 200 5 0.002``: the client, the request,
    the status, the bytes of the body, the seconds that it took.
    """

    def __init__(self, form: Literal["plain", "json"]) -> None:
        self._write = self._write_plain if form == "plain" else self._write_json
        if LOGGER.level == logging.NOTSET:
            LOGGER.setLevel(logging.INFO)

    def __call__(
        self, scope: dict[str, Any], target: bytes, status: int, sent: int, seconds: float
    ) -> None:
        """Write the line of one answer; a status of 0 means that the client got none."""
        host, port = scope["client"] or ("unix", None)
        client = f"{host}:{port}" if port else host
        self._write(
            {
                "client": client,
                "method": scope.get("method", "WEBSOCKET"),
                "target": target.decode("latin-1"),
                "version": scope["http_version"],
                "status": status,
                "bytes": sent,
                "seconds": round(seconds, 6),
            }
        )

    def _write_plain(self, entry: dict[str, Any]) -> None:
        LOGGER.info(
            '%(client)s "%(method)s %(target)s HTTP/%(version)s"'
            " %(status)d %(bytes)d %(seconds).3f",
            entry,
        )

    def _write_json(self, entry: dict[str, Any]) -> None:
        LOGGER.info("%s", json.dumps(entry))


def write_to_standard_output() -> None:
    """Write the lines to standard output only.

    An application that has given the logger a handler of its own keeps it.
    """
    if LOGGER.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
