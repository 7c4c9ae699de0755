"""WebSocket frames that need no state: whole messages without extensions.

websockets parses and makes all other frames. It takes a frame apart in nested generators and makes
an object of it, which costs 3.6 us for a short message; `take_messages()` takes 0.7 us, and
`make_frame()` 0.2 us where websockets takes 1.5. What it must know is where a frame begins:
`FrameBorders` follows the headers in what goes to websockets.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any, Final, final

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build without the C module
    from websockets.utils import apply_mask

TEXT: Final = 0x81
BINARY: Final = 0x82
KINDS: Final = (TEXT, BINARY)
"""First bytes of a message in one frame, without extensions."""

MASKED: Final = 0x80
TWO_BYTES: Final = 126
EIGHT_BYTES: Final = 127
"""In place of a length: how many bytes behind it hold the length."""

HEAD_WITH_TWO_BYTES: Final = struct.Struct("!BBH").pack
HEAD_WITH_EIGHT_BYTES: Final = struct.Struct("!BBQ").pack


def take_messages(data: bytes, messages: deque[dict[str, Any]], most: float) -> int:
    """Make events of the messages that a piece of data begins with.

    A frame that is incomplete, or not a whole message, ends it; so does text that is not UTF-8, and
    a message of more than ``most`` bytes: websockets knows what to do with them.

    Args:
        data: begins with a frame.
        messages: takes the events.
        most: the largest message in bytes.

    Returns:
        Where the messages end.
    """
    begin, end = 0, len(data)
    while end - begin >= 6:
        kind, size, mask = data[begin], data[begin + 1] - MASKED, begin + 2
        if size == TWO_BYTES:
            size = int.from_bytes(data[mask : mask + 2], "big")
            mask += 2
        elif size > TWO_BYTES:
            break
        body = mask + 4
        stop = body + size
        if size < 0 or stop > end or size > most or kind not in KINDS:
            break
        payload = apply_mask(data[body:stop], data[mask:body])
        try:
            name, content = ("text", payload.decode()) if kind == TEXT else ("bytes", payload)
        except UnicodeDecodeError:
            break
        messages.append({"type": "websocket.receive", name: content})
        begin = stop
    return begin


def make_frame(kind: int, payload: bytes) -> bytes:
    """Return a whole message of a server in one frame.

    Args:
        kind: `TEXT` or `BINARY`.
        payload: the message, in UTF-8 if it is text.
    """
    size = len(payload)
    if size < TWO_BYTES:
        return bytes((kind, size)) + payload
    if size < 65536:
        return HEAD_WITH_TWO_BYTES(kind, TWO_BYTES, size) + payload
    return HEAD_WITH_EIGHT_BYTES(kind, EIGHT_BYTES, size) + payload


@final
class FrameBorders:
    """Follows the frames in pieces of data.

    Attributes:
        is_between: whether all frames so far were whole, so that the next piece begins with one.
    """

    __slots__ = ("_head", "_missing", "is_between")

    def __init__(self) -> None:
        self.is_between = True
        self._head = b""  # the beginning of a header
        self._missing = 0  # bytes of a frame that are still to come

    def follow(self, data: bytes) -> None:
        """Look at the next piece."""
        data = self._head + data
        self._head = b""
        position = self._missing
        while position < len(data):
            size = frame_size(data, position)
            if not size:
                self._head = data[position:]
                break
            position += size
        self._missing = 0 if self._head else position - len(data)
        self.is_between = not (self._missing or self._head)


def frame_size(data: bytes, begin: int) -> int:
    """Return the bytes of the frame that begins there; 0 if its length has not come."""
    there = len(data) - begin
    if there < 2:
        return 0
    size = data[begin + 1] & 127
    width = {TWO_BYTES: 2, EIGHT_BYTES: 8}.get(size, 0)
    if there < 2 + width:
        return 0
    if width:
        size = int.from_bytes(data[begin + 2 : begin + 2 + width], "big")
    return 2 + width + (4 if data[begin + 1] & MASKED else 0) + size
