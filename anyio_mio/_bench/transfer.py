"""How much a transfer moves in one direction; the server and the load must agree on it."""

from __future__ import annotations

from typing import Final

MEBIBYTE: Final = 1 << 20
TRANSFER: Final = 16 * MEBIBYTE
