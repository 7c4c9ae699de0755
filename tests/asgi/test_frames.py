"""Messages of a WebSocket come out whole and in order, however the client's bytes are cut.

Most go around websockets' parser (`anyio_mio.asgi.frames`), the rest through it, so the two must
agree on where each frame begins.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anyio_mio.asgi.connection import Connection
from anyio_mio.asgi.frames import FrameBorders, make_frame, take_messages
from anyio_mio.asgi.options import split
from anyio_mio.asgi.site import Site
from anyio_mio.serving.threads import run_of_this_thread

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MASK = b"mask"
TEXT, BINARY, PING = 1, 2, 9
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Script(ByteStream):
    """A connection whose client sends given pieces, and nothing more."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = iter(pieces)
        self.sent = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        for piece in self.pieces:
            return piece
        raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        self.sent += item

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {}


def masked(payload: bytes) -> bytes:
    return bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


def frame(opcode: int, payload: bytes, *, is_last: bool = True, width: int = 0) -> bytes:
    """A frame of a client; ``width`` are the bytes for its length, if more than needed."""
    size = len(payload)
    width = max(width, 0 if size < 126 else 2 if size < 65536 else 8)
    short = {0: size, 2: 126, 8: 127}[width]
    head = bytes((opcode | (0x80 if is_last else 0), short | 0x80))
    return head + (size.to_bytes(width, "big") if width else b"") + MASK + masked(payload)


def as_event(opcode: int, payload: bytes) -> dict[str, Any]:
    if opcode == TEXT:
        return {"type": "websocket.receive", "text": payload.decode()}
    return {"type": "websocket.receive", "bytes": payload}


payloads = st.one_of(
    st.text("a\u20ac\U0001f600", max_size=50).map(str.encode),
    st.sampled_from([0, 1, 124, 125, 126, 127, 300]).map(lambda size: b"x" * size),
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[dict[str, Any]], bytes]:
    """What the application gets of a message, and the bytes of its frames."""
    kind = draw(st.sampled_from(["whole", "wide", "fragments", "ping"]))
    opcode, payload = draw(st.sampled_from([TEXT, BINARY])), draw(payloads)
    if kind == "ping":
        return [], frame(PING, payload[:125])
    if kind == "fragments":
        cut = draw(st.integers(0, len(payload)))
        rest = frame(0, payload[cut:])
        data = frame(opcode, payload[:cut], is_last=False) + draw(
            st.sampled_from([b"", frame(PING, b"")])
        )
        return [as_event(opcode, payload)], data + rest
    width = draw(st.sampled_from([2, 8])) if kind == "wide" else 0
    return [as_event(opcode, payload)], frame(opcode, payload, width=width)


def converse(pieces: list[bytes], **options: Any) -> tuple[list[dict[str, Any]], bytes]:
    """The events that an application gets of a connection, and what the client gets."""
    events: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] != "websocket.disconnect":
            events.append(event)

    async def main() -> bytes:
        stream = Script([HANDSHAKE, *pieces])
        site = Site(
            app, split({"ws_compression": False, **options})[0], anyio.Event(), run_of_this_thread()
        )
        await Connection(site, stream).converse()
        return stream.sent

    return events, anyio.run(main, backend="mio")


@SETTINGS
@given(st.data())
def test_messages_are_whole_and_in_order_wherever_their_bytes_are_cut(data: st.DataObject) -> None:
    sent = data.draw(st.lists(messages(), max_size=6))
    stream = b"".join(frames for _, frames in sent)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(stream) - 1, 1)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    events, _ = converse([piece for piece in pieces if piece])

    assert events == [event for expected, _ in sent for event in expected]


@pytest.mark.parametrize("cut", range(1, 17))
def test_a_part_of_a_frame_that_looks_like_a_message_is_none(cut: int) -> None:
    payload = masked(frame(TEXT, b"evil"))  # masked once more it is the frame
    data = frame(BINARY, payload)

    assert converse([data[:cut], data[cut:]])[0] == [as_event(BINARY, payload)]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_message_of_the_server_says_its_length(size: int) -> None:
    made = make_frame(0x82, b"x" * size)

    width = 0 if size < 126 else 2 if size < 65536 else 8
    length = made[1] if not width else int.from_bytes(made[2 : 2 + width], "big")
    assert (made[0], length, made[2 + width :]) == (0x82, size, b"x" * size)


def test_a_text_frame_between_fragments_is_refused() -> None:
    events, answer = converse([frame(TEXT, b"a", is_last=False), frame(TEXT, b"b")])

    assert events == []
    assert answer.endswith(b"expected a continuation frame")
    assert struct.pack("!H", 1002) in answer


def test_a_short_message_beyond_the_largest_size_is_refused() -> None:
    events, answer = converse([frame(TEXT, b"small"), frame(TEXT, b"longer")], ws_max_size=5)

    assert events == [as_event(TEXT, b"small")]
    assert struct.pack("!H", 1009) in answer


def test_a_message_after_the_client_has_closed_is_not_heard() -> None:
    events, _ = converse([frame(8, struct.pack("!H", 1000)) + frame(TEXT, b"late")])

    assert events == []


def test_frames_that_are_no_message_are_left_to_the_protocol() -> None:
    for data in (b"", b"\x81", frame(PING, b""), frame(TEXT, b"\xff"), b"\x81\x05hello unmasked"):
        taken: deque[dict[str, Any]] = deque()
        assert take_messages(data, taken, 1000) == 0
        assert not taken


@SETTINGS
@given(st.lists(st.sampled_from([0, 1, 125, 126, 400, 65536]), max_size=4), st.data())
def test_the_end_of_the_last_frame_is_known(sizes: list[int], data: st.DataObject) -> None:
    stream = b"".join(frame(BINARY, b"x" * size) for size in sizes)
    ends = {len(b"".join(frame(BINARY, b"x" * size) for size in sizes[:n])) for n in range(5)}
    borders, at = FrameBorders(), 0

    while at < len(stream):
        step = data.draw(st.integers(1, 70_000))
        borders.follow(stream[at : at + step])
        at = min(at + step, len(stream))
        assert borders.is_between == (at in ends)
