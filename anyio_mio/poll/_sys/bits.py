"""The readiness bits, one for each condition that a descriptor can report.

They are Linux's epoll bits on every platform. On Linux the pairs of the system pass through as they
are; on other systems the selector translates them. So a pair ``(fd, bits)`` means the same for
every selector.
"""

from __future__ import annotations

from typing import Final

READABLE: Final = 0x001
"""A read, receive or accept would not block (``EPOLLIN``)."""

PRIORITY: Final = 0x002
"""Out-of-band data has arrived, or another exceptional condition (``EPOLLPRI``)."""

WRITABLE: Final = 0x004
"""A write, send or a pending connect would not block (``EPOLLOUT``)."""

ERROR: Final = 0x008
"""The descriptor has a pending error. Always reported, asked for or not (``EPOLLERR``)."""

HANGUP: Final = 0x010
"""Both directions are closed. Always reported, asked for or not (``EPOLLHUP``)."""

READ_HANGUP: Final = 0x2000
"""The peer closed its writing half; bytes it sent before may still wait (``EPOLLRDHUP``)."""

WRITE_HANGUP: Final = 0x10000
"""Writing is impossible from now on, while reading may continue.

This is not one of epoll's bits: Linux reports ``HANGUP`` or ``ERROR`` instead. kqueue reports the
two halves separately. No system's poll uses this number.
"""

ONESHOT: Final = 1 << 30
"""Registration only: report once, then nothing until it is registered again."""

EDGE: Final = 1 << 31
"""Registration only: report changes, not states. The selectors add this bit themselves."""

READS: Final = READABLE | PRIORITY | READ_HANGUP
"""The bits that belong to the reading direction."""

WRITES: Final = WRITABLE | WRITE_HANGUP
"""The bits that belong to the writing direction."""

BOTH: Final = ERROR | HANGUP
"""The bits that concern both directions at once."""
