"""UNIX listeners in the file system: which paths are replaced, and which are removed.

Facts. ``bind()`` makes a file, which stays when the socket is closed, and the next ``bind()`` to
the same path fails. ``connect()`` to the file raises ECONNREFUSED only if no socket listens there.
Every other result comes from a live socket or proves nothing: EAGAIN means a full queue, EPROTOTYPE
a socket of another kind (for instance the system's logger at ``/dev/log``), EACCES that this
process may not connect. The system may give the inode number of a removed file to the next new
file, but not while a socket is bound to it.

Decision. A path is replaced only if it is a socket that refuses connections. A path is removed only
if it is still the file that our ``bind()`` made, and before the listening socket is closed: so a
server that ends does not remove the path of its successor.

A name that begins with a null byte is abstract (Linux): there is no file to replace or remove.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import Final, TypeAlias, final

from anyio_mio._net.non_blocking import open_unix_socket

StrOrBytesPath: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"

LONGEST_BACKLOG: Final = 65536


@final
class BoundPath:
    """The path to which a socket of ours is bound.

    Args:
        path: the path that was just passed to ``bind()``.
    """

    __slots__ = ("_identity", "path")

    def __init__(self, path: str | bytes) -> None:
        self.path = path
        self._identity = None if is_abstract(path) else identity_of(path)

    def __repr__(self) -> str:
        return f"<BoundPath {self.path!r}>"

    def remove(self) -> None:
        """Remove the path if it is still ours. Call it before the socket is closed.

        Safe to call again. If the system raises an error, the path stays, and the next server
        replaces it.
        """
        identity, self._identity = self._identity, None
        if identity is not None:
            remove_if_same(self.path, identity)


def bind_unix(sock: socket.socket, path: StrOrBytesPath, mode: int | None = None) -> BoundPath:
    """Bind a UNIX socket; a socket that a dead server left at the path is replaced.

    Args:
        sock: the socket. It is left open if this fails.
        path: the path; a name that begins with a null byte is abstract.
        mode: permissions of the path; None leaves them to the umask.

    Raises:
        OSError: binding failed; EADDRINUSE if a live socket or another file is at the path.
        ValueError: permissions for an abstract name.
    """
    path = os.fspath(path)
    if is_abstract(path):
        if mode is not None:
            raise ValueError("an abstract name has no permissions\n  right: mode=None")
        sock.bind(path)
        return BoundPath(path)
    remove_if_dead(path)
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno is not None:  # a path that is too long has a text and no number
            error.filename = path
        raise
    bound = BoundPath(path)
    if mode is not None:
        try:
            os.chmod(path, mode)
        except BaseException:
            bound.remove()
            raise
    return bound


def listen_unix(
    path: StrOrBytesPath, *, mode: int | None = None, backlog: int = LONGEST_BACKLOG
) -> tuple[socket.socket, BoundPath]:
    """Make a listening UNIX socket; arguments and errors are those of `bind_unix()`.

    Returns:
        The socket, which the caller closes, and the path, which the caller removes before that.
    """
    sock = open_unix_socket(socket.SOCK_STREAM)
    try:
        bound = bind_unix(sock, path, mode)
        try:
            sock.listen(min(backlog, LONGEST_BACKLOG))
        except BaseException:
            bound.remove()
            raise
    except BaseException:
        sock.close()
        raise
    return sock, bound


def is_abstract(path: str | bytes) -> bool:
    """Return whether a UNIX name is abstract."""
    return path[:1] in ("\0", b"\0")


def identity_of(path: str | bytes) -> tuple[int, int, int]:
    """Return values that distinguish a file from another file at the same path.

    The time is for a caller whose socket is closed already: another file may have got its inode
    number.
    """
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns


def remove_if_dead(path: str | bytes) -> None:
    """Remove a socket that refuses connections; leave everything else."""
    with contextlib.suppress(FileNotFoundError):
        identity = identity_of(path)
        if stat.S_ISSOCK(os.lstat(path).st_mode) and refuses(path):
            remove_if_same(path, identity)  # another server may have replaced it in between


def refuses(path: str | bytes) -> bool:
    """Return whether no socket listens at a path that is a socket."""
    with open_unix_socket(socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def remove_if_same(path: str | bytes, identity: tuple[int, int, int]) -> None:
    """Remove a path if it is still the same file."""
    with contextlib.suppress(OSError):
        if identity_of(path) == identity:
            os.unlink(path)
