"""The errors of ``accept()``: what each means, and how the accept loop handles it.

Facts. ``accept()`` fails for four different reasons. The queue is empty. The connection at its head
has died, or a firewall refuses it: Linux and the BSDs then report the error instead of the
connection, and the next one in the queue may be fine (accept(2), "Error handling"). The process or
the system has no descriptor or memory left: the connection stays in the queue. The socket does not
listen, or not any more.

Other implementations. Go waits 5 ms, doubling to 1 s, when out of descriptors, and returns on all
other errors. Trio waits 100 ms and logs each time; HAProxy pauses the listener for 100 ms; nginx
for 500 ms; axum waits a second on any unknown error; libuv accepts and closes with a spare
descriptor. AnyIO's own backends have no policy: the first EMFILE ends the server and every
connection it has.

Consequences. Under edge triggering an error must not end the drain as WouldBlock does: there is no
second edge for the connections that are queued already. Retrying at once would spin, because the
cause remains.

Decision. `ERRORS` below gives each error a kind. An empty queue waits for the next edge. After an
error of one connection the loop continues with the next one, and the error counts towards the
batch. After `MANY_IN_A_ROW` such errors the cause counts as a lasting one. If descriptors or memory
run out, the loop backs off, keeps the readiness, and tries again after a delay, or as soon as a
socket of ours is closed. A closed socket is reported to the caller, and every other error is
raised.

Three errors need an explanation. EACCES: SELinux and other security modules refuse a connection
with it, as a firewall does with EPERM. The module decides before the connection leaves the queue,
so the next attempt may meet the same connection; `MANY_IN_A_ROW` ends that. ENETRESET: a network
error that was pending on the new socket, like ENETDOWN. EIO: a layer below the socket failed. The
next attempt may succeed, so the loop waits for at most a second and does not end the server.

Cost. If a descriptor that is not ours becomes free while the loop backs off, a client may wait in
the system's queue for up to a second longer.
"""

from __future__ import annotations

import errno
from enum import Enum
from typing import Final


class AcceptErrorKind(Enum):
    """The kind of an error of ``accept()``, which decides how it is handled."""

    SKIP = "skip"
    """An error of one connection; continue with the next."""

    BACK_OFF = "back off"
    """Out of descriptors or memory; wait. The queued connections stay in the queue."""

    CLOSED = "closed"
    """The socket was closed, or does not listen."""

    RAISE = "raise"
    """A bug, or an error that is not in the table; raise it."""


MANY_IN_A_ROW: Final = 64
"""Failures of single connections without a success, after which the loop backs off: a firewall or a
security module that refuses everything must not make it spin."""

ERRORS: Final[dict[str, AcceptErrorKind]] = {
    # The connection was gone before it was accepted.
    "ECONNABORTED": AcceptErrorKind.SKIP,
    "ECONNRESET": AcceptErrorKind.SKIP,
    "ECONNREFUSED": AcceptErrorKind.SKIP,
    "EPROTO": AcceptErrorKind.SKIP,
    "ETIMEDOUT": AcceptErrorKind.SKIP,
    # A firewall or a security module refused this one.
    "EPERM": AcceptErrorKind.SKIP,
    "EACCES": AcceptErrorKind.SKIP,
    # Linux passes network errors that are pending on the new socket through accept().
    "ENETDOWN": AcceptErrorKind.SKIP,
    "ENETRESET": AcceptErrorKind.SKIP,
    "ENETUNREACH": AcceptErrorKind.SKIP,
    "EHOSTDOWN": AcceptErrorKind.SKIP,
    "EHOSTUNREACH": AcceptErrorKind.SKIP,
    "ENONET": AcceptErrorKind.SKIP,
    "ENOPROTOOPT": AcceptErrorKind.SKIP,
    "EOPNOTSUPP": AcceptErrorKind.SKIP,
    "ENOSR": AcceptErrorKind.SKIP,
    "ESOCKTNOSUPPORT": AcceptErrorKind.SKIP,
    "EPROTONOSUPPORT": AcceptErrorKind.SKIP,
    "EINTR": AcceptErrorKind.SKIP,
    # The process or the system has reached a limit.
    "EMFILE": AcceptErrorKind.BACK_OFF,
    "ENFILE": AcceptErrorKind.BACK_OFF,
    "ENOBUFS": AcceptErrorKind.BACK_OFF,
    "ENOMEM": AcceptErrorKind.BACK_OFF,
    "ENOSPC": AcceptErrorKind.BACK_OFF,
    # A layer below the socket failed; the next attempt may succeed.
    "EIO": AcceptErrorKind.BACK_OFF,
    # Not a listening socket, or not a socket.
    "EBADF": AcceptErrorKind.CLOSED,
    "ENOTSOCK": AcceptErrorKind.CLOSED,
    "EINVAL": AcceptErrorKind.RAISE,
    # Windows has numbers of its own for two of them.
    "WSAEMFILE": AcceptErrorKind.BACK_OFF,
    "WSAENOBUFS": AcceptErrorKind.BACK_OFF,
}

KINDS: Final = {getattr(errno, name): kind for name, kind in ERRORS.items() if hasattr(errno, name)}


OUT_OF_DESCRIPTORS: Final = {
    getattr(errno, name) for name in ("EMFILE", "ENFILE", "WSAEMFILE") if hasattr(errno, name)
}
"""The errors that one more free descriptor would end."""


def classify(error: OSError, *, is_closed: bool = False) -> AcceptErrorKind:
    """Return the kind of an error.

    Args:
        error: what ``accept()`` raised; not WouldBlock.
        is_closed: whether the listener was closed, or does not listen any more.
    """
    if is_closed:
        return AcceptErrorKind.CLOSED
    return KINDS.get(error.errno or 0, AcceptErrorKind.RAISE)


def after_many(kind: AcceptErrorKind, in_a_row: int) -> AcceptErrorKind:
    """Return ``kind``, or `BACK_OFF` in place of `SKIP` after many failures in a row."""
    if kind is AcceptErrorKind.SKIP and in_a_row >= MANY_IN_A_ROW:
        return AcceptErrorKind.BACK_OFF
    return kind
