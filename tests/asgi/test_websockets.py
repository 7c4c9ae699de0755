"""WebSockets: the handshake, messages both ways, and every kind of end."""

from __future__ import annotations

import logging
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect, unix_connect

from anyio_mio.asgi import ApplicationError
from tests.asgi import apps
from tests.asgi.served import KINDS, Client, Served, TLSSocket, request, serving
from tests.asgi.test_requests import wait_for
from tests.shared.leaks import memory

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", KEY)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Echo, and act on what the first word of a message says."""
    if scope["type"] != "websocket":
        await apps.routes(scope, receive, send)
        return
    events = [scope, await receive()]
    runs.append(events)
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            events.append(message)
            return
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 3001, "reason": "as asked"})
        elif message.get("text") == "fail":
            raise LookupError("the application fails")
        elif message.get("text") == "return":
            return
        else:
            await send({**message, "type": "websocket.send"})


runs: list[list[Any]] = []


def seen() -> list[Any]:
    """What the last call of `echo()` has seen."""
    return runs[-1] if runs else []


@pytest.fixture(params=KINDS, scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(echo, request.param) as served:
        yield served


def websocket(served: Served, **options: Any) -> ClientConnection:
    runs.clear()
    options = {"proxy": None, "open_timeout": 5, "close_timeout": 5, **options}
    found: ClientConnection
    if served.kind == "unix":
        found = unix_connect(served.address, **options)
    elif served.kind == "tls":
        sock: Any = TLSSocket(socket.create_connection(served.address, 5))
        found = connect("ws://localhost/x?y", sock=sock, **options)
    else:
        found = connect(f"ws://127.0.0.1:{served.port}/x?y", **options)
    return found


def frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    head = bytes([(0x80 if fin else 0) | opcode])
    flag = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([flag | len(payload)])
    elif len(payload) < 65536:
        head += bytes([flag | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([flag | 127]) + struct.pack("!Q", len(payload))
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def shake_hands(served: Served, more: bytes = b"") -> Client:
    runs.clear()
    client = served.connect()
    client.send(request(b"GET", b"/", *HANDSHAKE) + more)
    head = client.read_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"), head
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    return client


def close_code(data: bytes) -> int:
    """The code in a close frame, which is all that came."""
    assert data[0] == 0x88, data
    return int.from_bytes(data[2:4], "big")


def test_text_and_binary_messages_come_back(served: Served) -> None:
    with websocket(served) as ws:
        for message in ("hello", "", "ä" * 70000, b"bytes", b"", b"\0" * 70000):
            ws.send(message)
            assert ws.recv(5) == message


def test_messages_are_compressed_where_the_client_offers_it(served: Served) -> None:
    with websocket(served) as ws:
        assert [each.name for each in ws.protocol.extensions] == ["permessage-deflate"]
    with websocket(served, compression=None) as ws:
        ws.send("plain")
        assert ws.recv(5) == "plain"
        assert ws.protocol.extensions == []


def test_fragments_are_one_message_with_pings_between_them(served: Served) -> None:
    with shake_hands(served) as client:
        client.send(frame(1, b"one ", fin=False))
        client.send(frame(9, b"ping"))
        assert client.read_exactly(6) == b"\x8a\x04ping"
        client.send(frame(0, b"two ", fin=False) + frame(0, b"three"))
        assert client.read_exactly(15) == b"\x81\x0done two three"


def test_a_frame_may_come_byte_by_byte(served: Served) -> None:
    with shake_hands(served) as client:
        for byte in frame(1, b"hello"):
            client.send(bytes([byte]))
        assert client.read_exactly(7) == b"\x81\x05hello"


def test_frames_that_come_with_the_handshake_are_not_lost(served: Served) -> None:
    with shake_hands(served, frame(1, b"early") + frame(1, b"bird")) as client:
        assert client.read_exactly(13) == b"\x81\x05early\x81\x04bird"


def test_a_large_message_that_comes_with_the_handshake_is_not_lost(served: Served) -> None:
    with shake_hands(served, frame(2, b"x" * 40000)) as client:
        assert client.read_exactly(40004)[4:] == b"x" * 40000


def test_the_scope_is_that_of_a_websocket(served: Served) -> None:
    with websocket(served, subprotocols=["chat", "talk"]):
        scope = seen()[0]
    assert scope["type"] == "websocket"
    assert scope["scheme"] == ("wss" if served.kind == "tls" else "ws")
    assert scope["subprotocols"] == ["chat", "talk"]
    assert "method" not in scope
    assert scope["http_version"] == "1.1"
    tls = {"tls"} if served.kind == "tls" else set()
    assert set(scope["extensions"]) == {"websocket.http.response"} | tls
    assert seen()[1] == {"type": "websocket.connect"}


def test_the_client_closes_with_a_code_and_a_reason(served: Served) -> None:
    with websocket(served) as ws:
        ws.close(4001, "enough")
    wait_for(lambda: len(seen()) == 3)
    assert seen()[2] == {"type": "websocket.disconnect", "code": 4001, "reason": "enough"}


def test_a_close_without_a_code_is_1005(served: Served) -> None:
    with shake_hands(served) as client:
        client.send(frame(8, b""))
        assert client.read_all().removesuffix(b"<reset>") == b"\x88\x00"
    wait_for(lambda: len(seen()) == 3)
    assert seen()[2]["code"] == 1005


def test_a_lost_client_is_1006(served: Served) -> None:
    shake_hands(served).close()
    wait_for(lambda: len(seen()) == 3)
    assert seen()[2] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


def test_the_application_closes_with_a_code_and_a_reason(served: Served) -> None:
    with websocket(served) as ws:
        ws.send("close")
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv(5)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (3001, "as asked")
    wait_for(lambda: len(seen()) == 3)
    assert seen()[2]["code"] == 3001


@pytest.mark.parametrize("word, code", [("fail", 1011), ("return", 1000)])
def test_an_application_that_ends_closes_its_websocket(
    served: Served, word: str, code: int
) -> None:
    with websocket(served) as ws:
        ws.send(word)
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv(5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == code


BAD_FRAMES = {
    "text that is no UTF-8": (1007, frame(1, b"\xff\xfe")),
    "UTF-8 cut off by fragments": (1007, frame(1, b"\xc3", fin=False) + frame(0, b"x")),
    "no mask": (1002, frame(1, b"hello", mask=False)),
    "a ping without a mask": (1002, frame(9, b"hello", mask=False)),
    "reserved bits": (1002, bytes([0xF1]) + frame(1, b"hello")[1:]),
    "the bit of compression, which was not agreed": (1002, b"\xc1" + frame(1, b"hello")[1:]),
    "reserved bits in a ping": (1002, b"\xc9" + frame(9, b"hello")[1:]),
    "unknown opcode": (1002, frame(3, b"hello")),
    "a continuation of nothing": (1002, frame(0, b"hello")),
    "a text within fragments": (1002, frame(1, b"x", fin=False) + frame(1, b"y")),
    "a long ping": (1002, frame(9, b"x" * 126)),
    "a ping in fragments": (1002, frame(9, b"x", fin=False)),
    "no UTF-8 in a later fragment": (1007, frame(1, b"x", fin=False) + frame(0, b"\xff")),
    "an unknown control frame": (1002, frame(11, b"hello")),
    **{
        f"close code {code}": (1002, frame(8, struct.pack("!H", code)))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    },
    "a close reason that is no UTF-8": (1007, frame(8, struct.pack("!H", 1000) + b"\xff")),
    "a close of one byte": (1002, frame(8, b"x")),
    "too large": (1009, b"\x81\xff" + struct.pack("!Q", 1 << 40) + b"mask"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@pytest.mark.parametrize("behind", [b"", frame(1, b"behind it")], ids=["alone", "before another"])
def test_a_bad_frame_closes_the_websocket(served: Served, name: str, behind: bytes) -> None:
    code, data = BAD_FRAMES[name]
    with shake_hands(served) as client:
        client.send(data + behind)
        assert close_code(client.read_all()) == code
    wait_for(lambda: len(seen()) == 3)
    assert seen()[2]["code"] == code


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1011, 3000, 4999])
def test_nothing_behind_a_close_reaches_the_application(served: Served, code: int) -> None:
    close = frame(8, struct.pack("!H", code) + b"why")
    with shake_hands(served) as client:
        client.send(close + frame(1, b"behind it") + frame(8, struct.pack("!H", 1002)))
        assert close_code(client.read_all()) == code
    wait_for(lambda: len(seen()) == 3)
    assert seen()[2] == {"type": "websocket.disconnect", "code": code, "reason": "why"}


def test_a_text_may_be_cut_within_a_character(served: Served) -> None:
    text = "\N{EURO SIGN}\N{GRINNING FACE}"
    data = text.encode()
    with shake_hands(served) as client:
        fragments = [frame(0, data[i : i + 1], fin=False) for i in range(1, len(data))]
        client.send(frame(1, data[:1], fin=False) + b"".join(fragments) + frame(0, b""))
        assert client.read_exactly(2 + len(data)) == bytes([0x81, len(data)]) + data


@pytest.mark.parametrize("head", [b"\x81\xfe\0\5", b"\x81\xff" + bytes(7) + b"\5"])
def test_a_length_may_take_more_bytes_than_it_needs(served: Served, head: bytes) -> None:
    with shake_hands(served) as client:
        client.send(head + frame(1, b"hello")[2:])
        assert client.read_exactly(7) == b"\x81\x05hello"


def deflated(*pieces: bytes) -> bytes:
    """A message of permessage-deflate, a fragment for each piece."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bodies = [compressor.compress(p) + compressor.flush(zlib.Z_SYNC_FLUSH) for p in pieces]
    bodies[-1] = bodies[-1][:-4]
    first, *rest = [frame(0, body, fin=body is bodies[-1]) for body in bodies]
    return bytes([first[0] | 0x41, *first[1:]]) + b"".join(rest)


BAD_DEFLATED = {
    "a bomb": (1009, deflated(bytes(50_000_000))),
    "a bomb in fragments": (1009, deflated(bytes(600_000), bytes(600_000))),
    "no deflated data": (1002, b"\xc1" + frame(1, b"\xff" * 9)[1:]),
    "the bit in a later fragment": (
        1002,
        frame(1, b"x", fin=False) + b"\xc0" + frame(0, b"x")[1:],
    ),
    "text that is no UTF-8": (1007, deflated(b"\xff")),
}


@pytest.mark.parametrize("name", BAD_DEFLATED)
def test_a_bad_compressed_frame_closes_the_websocket(name: str) -> None:
    code, data = BAD_DEFLATED[name]
    fields = (*HANDSHAKE, b"Sec-WebSocket-Extensions: permessage-deflate")
    runs.clear()
    before = memory()
    with serving(echo, ws_max_size=1_000_000) as served, served.connect() as client:
        client.send(request(b"GET", b"/", *fields))
        assert b"permessage-deflate" in client.read_until(b"\r\n\r\n")
        client.send(data + frame(1, b"behind it"))
        assert close_code(client.read_all()) == code
        wait_for(lambda: len(seen()) == 3)
    assert seen()[2]["code"] == code
    assert memory() - before < 30_000_000


def test_a_flood_of_pings_keeps_no_other_client_waiting(served: Served) -> None:
    with shake_hands(served) as flood, served.connect() as client:
        flood.sock.settimeout(0.2)
        with suppress(OSError):  # nothing reads the pongs, so the server reads no more pings
            flood.send(frame(9, b"x" * 100) * 100_000)
        assert client.get(b"/hello").body == b"hello"


BAD_HANDSHAKES = {
    "no key": (400, (*HANDSHAKE[:3],)),
    "bad key": (400, (*HANDSHAKE[:3], b"Sec-WebSocket-Key: short")),
    "two keys": (400, (*HANDSHAKE, KEY)),
    "no version": (400, (*HANDSHAKE[:2], KEY)),
    "old version": (400, (*HANDSHAKE[:2], KEY, b"Sec-WebSocket-Version: 8")),
}


@pytest.mark.parametrize("name", BAD_HANDSHAKES)
def test_a_bad_handshake_is_refused(served: Served, name: str) -> None:
    status, fields = BAD_HANDSHAKES[name]
    answer = served.ask(request(b"GET", b"/", *fields))
    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_a_websocket_with_post_is_an_ordinary_request(served: Served) -> None:
    answer = served.ask(request(b"POST", b"/hello", *HANDSHAKE, b"Connection: close"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def denying(*events: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        for event in events:
            await send(event)

    return app


def test_a_close_before_the_accept_is_a_403() -> None:
    with serving(denying({"type": "websocket.close"}), lifespan="off") as served:
        answer = served.ask(request(b"GET", b"/", *HANDSHAKE))
        assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        with pytest.raises(InvalidStatus), websocket(served):
            pass


def test_an_application_denies_with_an_answer_of_its_own() -> None:
    app = denying(
        {"type": "websocket.http.response.start", "status": 418, "headers": [(b"x", b"y")]},
        {"type": "websocket.http.response.body", "body": b"I am ", "more_body": True},
        {"type": "websocket.http.response.body", "body": b"a teapot"},
    )
    with serving(app, lifespan="off") as served, served.connect() as client:
        client.send(request(b"GET", b"/", *HANDSHAKE))
        answer = client.read_answer()
    assert (answer.status, answer[b"x"], answer.body) == (418, b"y", b"I am a teapot")


@pytest.mark.parametrize("fails", [True, False])
def test_an_application_that_neither_accepts_nor_denies_is_a_500(fails: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if fails:
            raise LookupError("the application fails")

    with serving(app, lifespan="off") as served:
        answer = served.ask(request(b"GET", b"/", *HANDSHAKE))
    assert answer.startswith(b"HTTP/1.1 500 ")


def test_subprotocol_and_headers_come_with_the_accept() -> None:
    accept = {"type": "websocket.accept", "subprotocol": "talk", "headers": [(b"x-y", b"z")]}
    with (
        serving(denying(accept), lifespan="off") as served,
        websocket(served, subprotocols=["chat", "talk"]) as ws,
    ):
        assert ws.subprotocol == "talk"
        assert ws.response is not None
        assert ws.response.headers["x-y"] == "z"


ACCEPT = {"type": "websocket.accept"}
TEXT = {"type": "websocket.send", "text": "x"}
CLOSE = {"type": "websocket.close"}

WRONG: dict[str, tuple[list[Any], str]] = {
    "no event": (["text"], "sent 'text' while it connects"),
    "an event of HTTP": ([{"type": "http.response.start"}], "'http.response.start' while it"),
    "a message first": ([TEXT], "'websocket.send' while it connects"),
    "two accepts": ([ACCEPT, ACCEPT], "'websocket.accept' while it is open"),
    "a message after the close": ([ACCEPT, CLOSE, TEXT], "'websocket.send' after it was closed"),
    "two closes": ([ACCEPT, CLOSE, CLOSE], "'websocket.close' after it was closed"),
    "neither text nor bytes": ([ACCEPT, {"type": "websocket.send"}], "text=None and bytes=None"),
    "both": ([ACCEPT, TEXT | {"bytes": b"x"}], "text='x' and bytes=b'x'"),
    "text of bytes": ([ACCEPT, TEXT | {"text": b"x"}], "text=b'x'"),
    "a bad code": ([ACCEPT, CLOSE | {"code": 1006}], "code=1006"),
    "a code of text": ([ACCEPT, CLOSE | {"code": "x"}], "code='x'"),
    "a long reason": ([ACCEPT, CLOSE | {"reason": "x" * 200}], "reason='xxx"),
    "a subprotocol unasked": (
        [ACCEPT | {"subprotocol": "x"}],
        "with the subprotocol 'x'",
    ),
    "headers of text": ([ACCEPT | {"headers": [("a", "b")]}], "the headers are"),
    "response splitting": ([ACCEPT | {"headers": [(b"a", b"b\r\nc: d")]}], "would end the head"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_event_raises_an_error_that_names_it(name: str) -> None:
    events, text = WRONG[name]
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            for event in events:
                await send(event)
        except ApplicationError as error:
            errors.append(str(error))

    with serving(app, lifespan="off") as served:
        served.ask(request(b"GET", b"/", *HANDSHAKE) + frame(8, b""))
    assert len(errors) == 1
    assert text in errors[0]
    assert "app sent '" in errors[0]
    assert "\n  right: " in errors[0]


def test_send_raises_an_oserror_when_the_client_is_gone() -> None:
    errors: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        try:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 65536})
        except OSError as error:
            errors.append(error)

    with serving(app, lifespan="off") as served:
        shake_hands(served).close()
        wait_for(lambda: errors)


def test_messages_of_several_tasks_are_sent_whole() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)

        async def talk(letter: bytes) -> None:
            for _ in range(20):
                await send({"type": "websocket.send", "bytes": letter * 50000})

        async with anyio.create_task_group() as group:
            for letter in (b"a", b"b", b"c"):
                group.start_soon(talk, letter)

    with serving(app, lifespan="off") as served, websocket(served, max_size=None) as ws:
        messages = [bytes(message) for message in ws if isinstance(message, bytes)]
    assert sorted(messages) == sorted([b"a" * 50000, b"b" * 50000, b"c" * 50000] * 20)


def test_a_client_that_answers_no_ping_is_hung_up_on(served: Served) -> None:
    options = {"ws_ping_interval": 0.2, "ws_ping_timeout": 0.2}
    with serving(echo, served.kind, **options) as impatient, shake_hands(impatient) as client:
        assert client.read_exactly(2) == b"\x89\x00"
        data = client.read_all()
        assert data in (b"", b"<reset>") or close_code(data) == 1011
        wait_for(lambda: len(seen()) == 3)
        assert seen()[2]["code"] in (1006, 1011)


def test_a_client_that_answers_pings_stays(served: Served) -> None:
    options = {"ws_ping_interval": 0.1, "ws_ping_timeout": 1}
    with serving(echo, served.kind, **options) as impatient, shake_hands(impatient) as client:
        for _ in range(12):  # longer than the time-out
            assert client.read_exactly(2) == b"\x89\x00"
            client.send(frame(10, b""))
        client.send(frame(1, b"hello"))
        assert client.read_exactly(7) == b"\x81\x05hello"


def test_pings_are_answered_while_the_application_does_not_read() -> None:
    gate = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await gate.wait()

    options: Any = {"ws_ping_interval": 0.1}
    with serving(app, lifespan="off", **options) as served, shake_hands(served) as client:
        client.send(frame(9, b"ping"))
        client.read_until(b"\x8a\x04ping")
        client.send(frame(8, struct.pack("!H", 1000)))
        client.read_until(b"\x88\x02")
        served.portal.call(gate.set)


def test_a_stop_closes_websockets_with_1012(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with serving(echo) as served:
        with websocket(served) as ws:
            ws.send("hello")
            assert ws.recv(5) == "hello"
            served.tell_to_stop()
            with pytest.raises(ConnectionClosed) as caught:
                ws.recv(5)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1012
        summary = served.summary.result(5)
    assert (summary.cancelled, summary.failed) == (0, 0)
    assert seen()[2]["code"] == 1012
    assert caplog.records == []
