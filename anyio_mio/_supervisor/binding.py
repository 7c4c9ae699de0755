"""Listening sockets: made from ``--bind``, or adopted from a service manager (LISTEN_FDS)."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from dataclasses import dataclass
from typing import Final, Protocol

FIRST_ADOPTED_FD: Final = 3
"""Where a service manager passes sockets; see sd_listen_fds(3)."""

ADDRESS: Final = re.compile(r"^(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5})$")


class BindError(Exception):
    """An address that cannot be bound; the message says why and what to write."""


class Address(Protocol):
    """Where to listen."""

    def bind(self, *, backlog: int | None, reuse_port: bool) -> socket.socket:
        """A listening, non-blocking socket; with a backlog of None it is bound and no more.

        Raises:
            OSError: what the system said.
        """

    def clean_up(self) -> None:
        """After the sockets are closed: leave nothing behind."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and a port."""

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
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((self.host, self.port))
            return listen(sock, backlog)
        except BaseException:
            sock.close()
            raise

    def clean_up(self) -> None:
        """Nothing is left of a TCP socket."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A path in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    def bind(self, *, backlog: int | None, reuse_port: bool) -> socket.socket:
        """See `Address.bind()`. A socket that a dead server left at the path is replaced."""
        self._remove_if_dead()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(self.path)
            return listen(sock, backlog)
        except BaseException:
            sock.close()
            raise

    def clean_up(self) -> None:
        """Remove the path."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _remove_if_dead(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(self.path).st_mode) and not answers(self.path):
                os.unlink(self.path)


def parse(text: str) -> TcpAddress | UnixAddress:
    """An address from ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:PATH``.

    Raises:
        BindError: it is none of them.
    """
    if text.startswith("unix:") and len(text) > len("unix:"):
        return UnixAddress(text.removeprefix("unix:"))
    match = ADDRESS.match(text)
    if match is None or int(match["port"]) > 65535:
        raise BindError(
            f"{text!r} is not an address\n"
            "  right: 127.0.0.1:8000, [::1]:8000, :8000 (all of IPv4), or unix:/run/app.sock"
        )
    return TcpAddress(match["six"] or numeric(match["host"] or "0.0.0.0"), int(match["port"]))


def numeric(host: str) -> str:
    """The first address of a host name."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise BindError(f"the host name {host!r} has no address here: {error.strerror}") from error


def listen(sock: socket.socket, backlog: int | None) -> socket.socket:
    """Turn a bound socket into a listening one."""
    if backlog is not None:
        sock.listen(backlog)
    sock.setblocking(False)
    return sock


def answers(path: str) -> bool:
    """Whether somebody listens at a UNIX path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) in (0, errno.EAGAIN)  # EAGAIN: its backlog is full


def adopted(environment: dict[str, str] | None = None) -> list[socket.socket]:
    """The sockets that a service manager passed to this process; often none.

    The two variables are removed, so that no child takes them for its own.
    """
    environ = os.environ if environment is None else environment
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for fd in range(FIRST_ADOPTED_FD, FIRST_ADOPTED_FD + int(count)):
        sock = socket.socket(fileno=fd)
        os.set_inheritable(fd, False)
        sock.setblocking(False)
        found.append(sock)
    return found
