"""Real sockets under random trouble: no byte is lost or repeated, and nobody waits for ever.

    python -m tests.soak --seconds 600 --seed 7

A connection carries messages in both directions. Message number n consists of one byte value, which
the next one does not have, so what arrives can be cut into messages again without framing. Those
that were sent to their end must be there in full, those whose sending was cancelled at most as far
as they were sent, and all in their order. Meanwhile receives and sends are cancelled at random,
readers dawdle, descriptors are duplicated, numbers reused, urgent bytes sent, connections reset.

A failure prints its seed.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import anyio.abc
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

import anyio_mio
from anyio_mio.poll import available_selectors
from tests.shared.certificates import client_context, server_context
from tests.shared.pairs import tcp_sockets

KINDS: Final = ("tcp", "unix", "tls")
PATIENCE: Final = 20.0
"""Seconds that one connection may take, whatever the machine is busy with: a lost wake-up fails."""

VALUES: Final = 251
SIZES: Final = (1, 7, 100, 4096, 65536, 200_000)

Pair = tuple[ByteStream, ByteStream]


@dataclass
class Message:
    size: int
    was_cancelled: bool = False


@dataclass
class Direction:
    """What one end has sent and the other has received."""

    sent: list[Message] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    is_over: bool = False

    def check(self) -> None:
        """Cut what was received into messages; raise AssertionError where it does not fit."""
        place = 0
        for number, message in enumerate(self.sent):
            value = number % VALUES
            end = place
            while end < len(self.received) and self.received[end] == value:
                end += 1
            length = end - place
            if message.was_cancelled:
                assert length <= message.size, f"message {number} was repeated"
            else:
                assert length == message.size, f"message {number}: {length} of {message.size} bytes"
            place = end
        assert place == len(self.received), "bytes that nobody sent"


class Soak:
    """Trouble with one kind of stream on one selector.

    Args:
        kind: `"tcp"`, `"unix"` or `"tls"`.
        chance: the source of all randomness.
    """

    def __init__(self, kind: str, chance: random.Random) -> None:
        self.kind = kind
        self.chance = chance
        self.connections = 0
        self.duplicates: list[int] = []
        self._server = server_context("localhost")
        self._client = client_context()

    async def run(self, seconds: float) -> None:
        """Make connections, a few at a time, until the time is over."""
        end = time.monotonic() + seconds
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(self._connect_until, end)
        while self.duplicates:
            os.close(self.duplicates.pop())

    async def _connect_until(self, end: float) -> None:
        while time.monotonic() < end:
            with anyio.fail_after(PATIENCE):
                await (self._reset() if self.chance.random() < 0.1 else self._exchange())
            self.connections += 1

    # Connections.

    async def _pair(self) -> Pair:
        ours, theirs = socket.socketpair() if self.kind == "unix" else tcp_sockets()
        if self.chance.random() < 0.3:
            for sock in (ours, theirs):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        cls = anyio.abc.UNIXSocketStream if self.kind == "unix" else anyio.abc.SocketStream
        one, other = await cls.from_socket(ours), await cls.from_socket(theirs)
        return await self._wrapped(one, other) if self.kind == "tls" else (one, other)

    async def _wrapped(self, one: ByteStream, other: ByteStream) -> Pair:
        ends: list[ByteStream] = []

        async def serve() -> None:
            ends.append(await TLSStream.wrap(other, server_side=True, ssl_context=self._server))

        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            client = await TLSStream.wrap(one, hostname="localhost", ssl_context=self._client)
        return client, ends[0]

    async def _exchange(self) -> None:
        one, other = await self._pair()
        there, back = Direction(), Direction()
        async with one, other:
            async with anyio.create_task_group() as group:
                for sender, receiver, direction in ((one, other, there), (other, one, back)):
                    group.start_soon(self._send, sender, direction)
                    group.start_soon(self._receive, receiver, direction)
            self._maybe_duplicate(one)
            async with anyio.create_task_group() as group:  # TLS ends wait for each other's goodbye
                group.start_soon(one.aclose)
                group.start_soon(other.aclose)
        there.check()
        back.check()

    async def _reset(self) -> None:
        """One end resets the connection while the other one sends and receives."""
        if self.kind != "tcp":
            return
        one, other = await self._pair()

        async def until_broken(operation: Callable[[], Coroutine[Any, Any, object]]) -> None:
            try:
                while True:
                    await operation()
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                pass

        async with one, anyio.create_task_group() as group:
            group.start_soon(until_broken, one.receive)
            group.start_soon(until_broken, lambda: one.send(b"x" * 65536))
            await anyio.sleep(self.chance.random() / 100)
            raw = other.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await other.aclose()

    # The two ends.

    async def _send(self, stream: ByteStream, direction: Direction) -> None:
        count = self.chance.randrange(1, 40)
        urgent = self.chance.randrange(400) if self.kind == "tcp" else -1
        for number in range(count):
            message = Message(self.chance.randrange(1, self.chance.choice(SIZES) + 1))
            direction.sent.append(message)
            direction.is_over = number == count - 1
            payload = bytes([number % VALUES]) * message.size
            with self._maybe_cancelled() as scope:
                await stream.send(payload)
            message.was_cancelled = scope.cancelled_caught
            if number == urgent:  # once: a second one makes the first an ordinary byte
                self._send_urgent(stream)
        if self.kind != "tls":
            await stream.send_eof()

    async def _receive(self, stream: ByteStream, direction: Direction) -> None:
        while True:
            if self.chance.random() < 0.1:
                await anyio.sleep(self.chance.random() / 500)
            with self._maybe_cancelled(also_tls=True):
                try:
                    direction.received += await stream.receive(self.chance.choice(SIZES))
                except anyio.EndOfStream:
                    return
            if self.kind == "tls" and self._is_complete(direction):
                return

    def _is_complete(self, direction: Direction) -> bool:
        # TLS has no half-close: the end is what both sides know of the messages.
        total = sum(message.size for message in direction.sent)
        return direction.is_over and len(direction.received) >= total

    def _maybe_cancelled(self, *, also_tls: bool = False) -> anyio.CancelScope:
        """A scope that is sometimes cancelled: before, at once, or after a moment."""
        trouble = self.chance.random() < 0.2 and (also_tls or self.kind != "tls")
        delay = self.chance.choice([-1.0, 0.0, 0.0005, 0.002]) if trouble else float("inf")
        return anyio.move_on_after(delay)

    def _send_urgent(self, stream: ByteStream) -> None:
        try:
            stream.extra(SocketAttribute.raw_socket).send(b"!", socket.MSG_OOB)
        except OSError:
            pass  # the buffer is full

    def _maybe_duplicate(self, stream: ByteStream) -> None:
        """Keep a closed connection's descriptor alive, so that its number is reused meanwhile."""
        if self.chance.random() < 0.3:
            fd = stream.extra(SocketAttribute.raw_socket).fileno()
            self.duplicates.append(os.dup(fd))
            if self.chance.random() < 0.1:
                subprocess.Popen(["sleep", "0.1"], pass_fds=[fd]).wait()
        if len(self.duplicates) > 20:
            os.close(self.duplicates.pop(self.chance.randrange(20)))


def soak(kind: str, selector: str, seconds: float, seed: int) -> int:
    """Run one soak; return the number of connections that it made."""
    trouble = Soak(kind, random.Random(seed))
    try:
        anyio_mio.run(trouble.run, seconds, selector=selector, shuffle=seed)
    except BaseException as error:
        error.add_note(f"soak({kind!r}, {selector!r}, {seconds}, seed={seed})")
        raise
    return trouble.connections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each kind and selector")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    for selector in available_selectors():
        for kind in KINDS:
            count = soak(kind, selector, arguments.seconds, arguments.seed)
            line = f"{kind} on {selector}: {count} connections, seed {arguments.seed}"
            print(line, flush=True)  # noqa: T201 - it is a command


if __name__ == "__main__":
    main()
