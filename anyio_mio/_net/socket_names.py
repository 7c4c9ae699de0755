"""Descriptions of descriptors for the task tree: "receive on TCP 127.0.0.1:80 from …"."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

KINDS: Final = {
    socket.SOCK_STREAM: "TCP",
    socket.SOCK_DGRAM: "UDP",
}
LISTENS: Final = getattr(socket, "SO_ACCEPTCONN", None)


def describe_descriptor(fd: int, verb: str) -> str:
    """Describe what a task does with a descriptor.

    Args:
        fd: a descriptor of this process; it may be closed.
        verb: the operation: ``"receive"``, ``"send"``, or the name of a function.

    Returns: For instance ``"receive on TCP 127.0.0.1:8000 from 127.0.0.1:51234"``.
    """
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return f"{verb} on descriptor {fd}, which is closed"
    if not stat.S_ISSOCK(mode):
        return f"{verb} on {describe_file(fd, mode)}"
    with suppress(OSError):
        sock = socket.socket(fileno=fd)
        try:
            return describe_socket(sock, verb)
        finally:
            sock.detach()
    return f"{verb} on socket {fd}"


def describe_socket(sock: socket.socket, verb: str) -> str:
    """Describe what a task does with a socket, with the socket's kind and both addresses."""
    if LISTENS is not None and verb == "receive" and sock.getsockopt(socket.SOL_SOCKET, LISTENS):
        return f"accept on {kind_of_socket(sock)} {spell(sock.getsockname())}"
    own, peer = sock.getsockname(), None
    with suppress(OSError):
        peer = sock.getpeername()
    if not (own or peer):
        return f"{verb} on {kind_of_socket(sock)} {sock.fileno()}, without a name"
    words = f"{verb} on {kind_of_socket(sock)} {spell(own)}"
    if peer is not None:
        words += f" {'to' if verb == 'send' else 'from'} {spell(peer)}"
    return words


def describe_address(sock: socket.socket) -> str:
    """Return the kind of a socket and its own address."""
    with suppress(OSError):
        return f"{kind_of_socket(sock)} {spell(sock.getsockname())}"
    return kind_of_socket(sock)


def kind_of_socket(sock: socket.socket) -> str:
    """Return TCP, UDP, UNIX socket, or the system's name of the kind."""
    if sock.family == getattr(socket, "AF_UNIX", None):
        return "UNIX socket"
    return KINDS.get(sock.type, str(sock.type))


def describe_file(fd: int, mode: int) -> str:
    """Return the kind and the number of a descriptor that is not a socket."""
    if stat.S_ISFIFO(mode):
        return f"pipe {fd}"
    with suppress(OSError, ValueError):
        if os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[pidfd]":
            fields = Path(f"/proc/self/fdinfo/{fd}").read_text("ascii").split()
            return f"process {int(fields[fields.index('Pid:') + 1])}"
    return f"descriptor {fd}"


def spell(address: object) -> str:
    """Return an address as people write it; show names that a peer chose with ``repr()``."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return repr(address) if address else "without a name"
