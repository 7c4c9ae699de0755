"""The PROXY protocol, versions 1 and 2: a TCP proxy sends the address of its client.

A proxy that does not read HTTP sends it ahead of all else (the specification is HAProxy's,
``proxy-protocol.txt``). Only trusted peers are asked for it, and each of them must send it: to
guess would let clients write it themselves.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
LONGEST_LINE: Final = 107
FIXED: Final = 16
"""Bytes of the fixed part of version 2."""

LINE: Final = re.compile(
    rb"PROXY (?:TCP[46] ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d{1,5}) (\d{1,5})|UNKNOWN[^\r\n]*)\r\n"
)

Address = tuple[str, int | None]


class ProxyHeaderError(Exception):
    """The data is not a PROXY header."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A PROXY header.

    Attributes:
        size: its length in bytes.
        client: where the connection comes from; None if the proxy does not say.
        server: where it went; None if the proxy does not say.
    """

    size: int
    client: Address | None = None
    server: Address | None = None


def parse_header(data: bytes) -> ProxyHeader | None:
    """Return the header at the beginning of ``data``; None if more is needed.

    Raises:
        ProxyHeaderError: there is none.
    """
    if data.startswith(SIGNATURE[: len(data)]):
        return parse_binary(data)
    if not data.startswith(b"PROXY "[: len(data)]):
        raise ProxyHeaderError
    match = LINE.match(data)
    if match is None:
        if len(data) > LONGEST_LINE or b"\n" in data:
            raise ProxyHeaderError
        return None
    if match.end() > LONGEST_LINE:
        raise ProxyHeaderError
    if match[1] is None:
        return ProxyHeader(match.end())
    client, server, client_port, server_port = (each.decode() for each in match.groups())
    family = socket.AF_INET6 if data[9:10] == b"6" else socket.AF_INET
    return ProxyHeader(
        match.end(), checked(family, client, client_port), checked(family, server, server_port)
    )


def checked(family: socket.AddressFamily, host: str, port: str) -> Address:
    """Return a host and a port of version 1."""
    try:
        socket.inet_pton(family, host)
    except OSError:
        raise ProxyHeaderError from None
    if int(port) > 65535:
        raise ProxyHeaderError
    return host, int(port)


def parse_binary(data: bytes) -> ProxyHeader | None:
    """Return a header of version 2."""
    if len(data) < FIXED:
        return None
    version, family, length = struct.unpack_from("!BBH", data, len(SIGNATURE))
    if version not in (0x20, 0x21) or family > 0x32:
        raise ProxyHeaderError
    if len(data) < FIXED + length:
        return None
    size, rest = FIXED + length, data[FIXED : FIXED + length]
    if version == 0x20 or family not in (0x11, 0x21):  # LOCAL: the proxy's own; or no TCP
        return ProxyHeader(size)
    width, kind = (4, socket.AF_INET) if family == 0x11 else (16, socket.AF_INET6)
    if length < 2 * width + 4:
        raise ProxyHeaderError
    client, server = (socket.inet_ntop(kind, rest[i : i + width]) for i in (0, width))
    client_port, server_port = struct.unpack_from("!HH", rest, 2 * width)
    return ProxyHeader(size, (client, client_port), (server, server_port))
