"""The protocol between the processes of a measurement: lines of JSON, sizes, and the error."""

from __future__ import annotations

import json
from typing import Any, Final

PAYLOAD: Final = 64  # bytes; small, so that the backend is measured and not the copying
MEBIBYTE: Final = 1 << 20
TRANSFER: Final = 16 * MEBIBYTE
READ_SIZE: Final = 65536  # what asyncio, Trio and AnyIO itself ask for by default
PIECES: Final = b"pieces of "  # begins what asks a server for pieces of so many bytes, without end
BACKLOG: Final = 4096  # Linux' own limit since 5.4 (net.core.somaxconn); bursts fit in


class MeasurementError(Exception):
    """A backend could not be measured; the text says why."""


def say(message: dict[str, Any]) -> None:
    """Print one line of JSON."""
    print(json.dumps(message), flush=True)
