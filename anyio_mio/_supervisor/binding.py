"""The addresses of ``--bind``, and their listening sockets."""

from __future__ import annotations

import errno
import re
import socket
import sys
from dataclasses import dataclass
from typing import Final, Protocol

from anyio_mio._net.unix_paths import BoundPath, listen_unix

ADDRESS: Final = re.compile(r"^(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5})$")

NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors of an address whose family this machine has switched off."""


class BindError(Exception):
    """An address cannot be bound; the message says why, and shows a right one."""


class Address(Protocol):
    """Where to listen."""

    def bind(self, *, backlog: int | None, reuse_port: bool) -> socket.socket:
        """Return a listening, non-blocking socket. With a backlog of None it is only bound.

        Raises:
            OSError: the address cannot be bound.
        """

    def clean_up(self) -> None:
        """Remove the paths of the sockets. Call it before they are closed."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A numeric host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def bind(self, *, backlog: int | None, reuse_port: bool) -> socket.socket:
        """See `Address.bind()`."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                if sys.platform == "win32":
                    raise OSError("this platform has no SO_REUSEPORT")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((self.host, self.port))
            return listen(sock, backlog)
        except BaseException:
            sock.close()
            raise

    def clean_up(self) -> None:
        """Do nothing: a TCP socket has no path."""


class UnixAddress:
    """A path in the file system.

    Args:
        path: the path.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._bound: BoundPath | None = None

    def __str__(self) -> str:
        return f"unix:{self.path}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnixAddress) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def bind(self, *, backlog: int | None, reuse_port: bool) -> socket.socket:
        """See `Address.bind()`. A socket that a dead server left at the path is replaced."""
        sock, self._bound = listen_unix(self.path, backlog=backlog or 0)
        return sock

    def clean_up(self) -> None:
        """Remove the path, unless it belongs to another server by now."""
        if self._bound is not None:
            self._bound.remove()


def parse(text: str) -> list[TcpAddress] | list[UnixAddress]:
    """Return the addresses of ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:PATH``.

    Raises:
        BindError: it is none of them, or the host has no address.
    """
    if text.startswith("unix:") and len(text) > len("unix:"):
        return [UnixAddress(text.removeprefix("unix:"))]
    match = ADDRESS.match(text)
    if match is None or int(match["port"]) > 65535:
        raise BindError(
            f"{text!r} is not an address\n"
            "  right: 127.0.0.1:8000, [::1]:8000, :8000 (all of IPv4), or unix:/run/app.sock"
        )
    port = int(match["port"])
    hosts = [match["six"]] if match["six"] else numeric_hosts(match["host"] or "0.0.0.0")
    return [TcpAddress(host, port) for host in hosts]


def numeric_hosts(name: str) -> list[str]:
    """Return every address of a host name, in the system's order."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a valid name"
        raise BindError(f"the host name {name!r} has no address here: {reason}") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def listen(sock: socket.socket, backlog: int | None) -> socket.socket:
    """Turn a bound socket into a listening one."""
    if backlog is not None:
        sock.listen(backlog)
    sock.setblocking(False)
    return sock
