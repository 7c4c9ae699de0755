"""A stand-in for Windows: the rules and errors of its `socket`, `select` and `os`, on Linux.

`install()` changes the whole process, so it belongs at the beginning of a process of its own,
before `anyio_mio` is imported. The parts of the standard library that look at ``sys.platform``
while they are imported must be there before, and so must AnyIO: they stay as they are here.

What it changes:

* ``sys.platform`` is ``"win32"``, and what Python does not have there is gone from `os`, `socket`
  and `select`: forking, UNIX sockets, ``MSG_DONTWAIT``, ``recvmsg()``, pollers other than select.
* `select.select` takes 512 sockets and nothing else. A descriptor that is none, or is closed, is
  ENOTSOCK for the whole call, and three empty lists are EINVAL. A refused connection is reported
  as exceptional, and not as writable.
* ``socketpair()`` is a connection over the loopback.
* The system's own ``select()``, which `winsock` calls through ctypes, takes any number of sockets.
* Pipes are no sockets, so what polls one fails.
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import select
import socket
import stat
import sys
from typing import Any

GONE = {
    os: (
        "eventfd",
        "fork",
        "forkpty",
        "pidfd_open",
        "pread",
        "register_at_fork",
        "sched_getaffinity",
        "sendfile",
        "set_blocking",
        "waitid",
    ),
    socket: (
        "AF_UNIX",
        "MSG_CMSG_CLOEXEC",
        "MSG_DONTWAIT",
        "SCM_RIGHTS",
        "SOCK_CLOEXEC",
        "SOCK_NONBLOCK",
        "SO_REUSEPORT",
    ),
    select: ("epoll", "poll"),
}

LIMIT = 512
real_select = select.select
real_poll = select.poll


def install() -> None:
    """Make this process look like one on Windows."""
    for module, names in GONE.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    # AnyIO asks for exclusive addresses there, which are the rule on Linux.
    socket.SO_EXCLUSIVEADDRUSE = socket.SO_KEEPALIVE  # type: ignore[attr-defined]
    ctypes.FormatError = os.strerror  # type: ignore[attr-defined]
    socket.socketpair = socketpair  # type: ignore[assignment]
    select.select = limited_select
    sys.platform = "win32"

    from anyio_mio.poll._sys import winsock

    winsock.systems_select = lambda: systems_select  # type: ignore[assignment]


def socketpair(*_: object) -> tuple[socket.socket, socket.socket]:
    """As the standard library makes one where the system has none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        first = socket.create_connection(server.getsockname())
        second, _address = server.accept()
    return first, second


def limited_select(
    readers: Any, writers: Any, exceptional: Any, timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """As `select.select` there: for 512 sockets."""
    read, write, other = list(readers), list(writers), list(exceptional)
    if max(map(len, (read, write, other))) > LIMIT:
        raise ValueError("too many file descriptors in select()")
    return any_select(read, write, other, timeout)


def any_select(
    readers: list[Any], writers: list[Any], exceptional: list[Any], timeout: float | None
) -> tuple[list[Any], list[Any], list[Any]]:
    """As the system's select()."""
    if not (readers or writers or exceptional):
        raise OSError(errno.EINVAL, "An invalid argument was supplied")
    poll = real_poll()
    for each in {*readers, *writers, *exceptional}:
        require_socket(each)
        bits = (each in readers and select.POLLIN) | (each in writers and select.POLLOUT)
        poll.register(each, bits | (each in exceptional and select.POLLPRI))
    seen = dict(poll.poll(None if timeout is None else timeout * 1000))
    if any(bits & select.POLLNVAL for bits in seen.values()):
        raise OSError(errno.ENOTSOCK, "An operation was attempted on something that is no socket")
    failed = select.POLLERR | select.POLLHUP
    return (
        [each for each in readers if seen.get(number(each), 0) & (select.POLLIN | failed)],
        [
            each
            for each in writers
            if seen.get(number(each), 0) & (select.POLLOUT | failed) == select.POLLOUT
        ],
        [each for each in exceptional if seen.get(number(each), 0) & (select.POLLPRI | failed)],
    )


def number(each: Any) -> int:
    """The descriptor of a socket, or of a number."""
    return each if isinstance(each, int) else int(each.fileno())


def require_socket(each: Any) -> None:
    """Refuse what is no open socket, for the whole call."""
    try:
        if stat.S_ISSOCK(os.fstat(number(each)).st_mode):
            return
    except OSError:
        pass
    raise OSError(errno.ENOTSOCK, "An operation was attempted on something that is no socket")


def systems_select(_: int, read: int, write: int, other: int, time: int | None) -> int:
    """The function of ws2_32.dll: sets of any length, at addresses."""
    timeout = None if time is None else seconds(time)
    ready = any_select(take(read), take(write), take(other), timeout)
    for address, fds in zip((read, write, other), ready, strict=True):
        put(address, fds)
    return sum(map(len, ready))


def take(address: int) -> list[int]:
    """The sockets of an ``fd_set``."""
    length = ctypes.c_uint64.from_address(address).value
    return list((ctypes.c_uint64 * length).from_address(address + 8))


def put(address: int, fds: list[int]) -> None:
    """Replace the sockets of an ``fd_set``."""
    data = array.array("Q", [len(fds), *fds]).tobytes()
    ctypes.memmove(address, data, len(data))


def seconds(address: int) -> float:
    """The time of a ``struct timeval``."""
    whole, micro = (ctypes.c_long * 2).from_address(address)
    return whole + micro / 1_000_000
