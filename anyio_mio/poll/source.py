"""The source: what can be registered.

Three things can be: a descriptor's number; an object with `fileno()`, like each socket and file;
and an object that consists of several of those, or of something else, and implements `Source`.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from anyio_mio.poll.interest import Interest
    from anyio_mio.poll.registry import Registry
    from anyio_mio.poll.token import Token


@runtime_checkable
class HasFileno(Protocol):
    """An object that owns one descriptor."""

    def fileno(self) -> int:
        """Return the number of the descriptor, or a negative one when it is closed."""


Descriptor: TypeAlias = int | HasFileno


class Source(Protocol):
    """An object that knows by itself how it is registered.

    An object which has a `fileno()` as well is taken for its descriptor, and these methods are not
    called. What they raise goes to the caller of the registry.
    """

    def register(self, registry: Registry, token: Token, interest: Interest) -> None:
        """Register the parts with `registry`, which was asked to register this object."""

    def reregister(self, registry: Registry, token: Token, interest: Interest) -> None:
        """Replace the registration of the parts."""

    def deregister(self, registry: Registry) -> None:
        """Deregister the parts."""


def descriptor_of(source: Descriptor) -> int:
    """Return the number of the descriptor that `source` is or has.

    Raises:
        OSError: `source` is closed (EBADF).
    """
    fd = source if isinstance(source, int) else source.fileno()
    if fd < 0:
        raise OSError(errno.EBADF, f"{os.strerror(errno.EBADF)}: {source!r} is closed")
    return fd
