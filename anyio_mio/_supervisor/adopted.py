"""Listening sockets that a service manager made: LISTEN_FDS; see sd_listen_fds(3)."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import os
import socket
from collections.abc import MutableMapping
from typing import Final

FIRST_FD: Final = 3
"""The number of the first socket."""

FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class AdoptionError(Exception):
    """A socket from the service manager cannot be served; the message is one line."""


def adopt_sockets(
    environment: MutableMapping[str, str], first: int = FIRST_FD
) -> list[socket.socket]:
    """Take the sockets that were passed to this process; often none.

    The variables are removed from the environment, so that no child uses them.

    Raises:
        AdoptionError: one of them is not a listening stream socket.
    """
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()):
        return []
    if not count.isascii() or not count.isdigit():
        raise AdoptionError(f"LISTEN_FDS is {count!r}; right: the number of sockets")
    found: list[socket.socket] = []
    for fd in range(first, first + int(count)):
        try:
            found.append(adopt(fd))
        except OSError as error:
            raise refusal(fd, count, f"is not an open socket: {error.strerror}") from None
        problem = what_is_wrong(found[-1])
        if problem:
            raise refusal(fd, count, problem)
    return found


def adopt(fd: int) -> socket.socket:
    """Return the socket of a descriptor. Child processes do not inherit it."""
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def what_is_wrong(sock: socket.socket) -> str:
    """Return why a socket cannot be served; empty if it can."""
    if sock.family not in FAMILIES:
        return "is neither a TCP nor a UNIX socket"
    if sock.type is not socket.SOCK_STREAM:
        return f"is not a stream socket but {sock.type.name}; right: ListenStream="
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "is not listening; right: ListenStream= and Accept=no"
    return ""


def refusal(fd: int, count: str, problem: str) -> AdoptionError:
    """Return the error for one descriptor."""
    return AdoptionError(
        f"the service manager passed {count} sockets, and descriptor {fd} {problem}"
    )
