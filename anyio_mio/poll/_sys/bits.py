"""The readiness bits, one number for each thing a descriptor can report.

They are Linux's epoll bits, on every platform: there the pairs of the kernel pass through
untranslated, and elsewhere the selector translates once, at the edge of the system. A pair
``(fd, bits)`` therefore means the same, whichever selector delivered it.
"""

from __future__ import annotations

from typing import Final

READABLE: Final = 0x001
"""A read, receive or accept would not block (``EPOLLIN``)."""

PRIORITY: Final = 0x002
"""Out-of-band data, or another exceptional condition, is there (``EPOLLPRI``)."""

WRITABLE: Final = 0x004
"""A write, send or a pending connect would not block (``EPOLLOUT``)."""

ERROR: Final = 0x008
"""The descriptor has a pending error. Always reported, asked for or not (``EPOLLERR``)."""

HANGUP: Final = 0x010
"""Both directions are closed. Always reported, asked for or not (``EPOLLHUP``)."""

READ_HANGUP: Final = 0x2000
"""The peer closed its writing half; bytes it sent before may still wait (``EPOLLRDHUP``)."""

WRITE_HANGUP: Final = 0x10000
"""Nothing can be written any more, while reading may go on.

Not one of epoll's bits: Linux says ``HANGUP`` or ``ERROR`` instead. kqueue tells the two halves
apart, and this number is outside everything that a kernel's poll uses.
"""

ONESHOT: Final = 1 << 30
"""Registration only: silent after one delivery, until it is registered anew."""

EDGE: Final = 1 << 31
"""Registration only: report changes, not states. The selectors add it themselves."""

READS: Final = READABLE | PRIORITY | READ_HANGUP
"""The bits that belong to the reading direction."""

WRITES: Final = WRITABLE | WRITE_HANGUP
"""The bits that belong to the writing direction."""

BOTH: Final = ERROR | HANGUP
"""The bits that concern both directions at once."""
