"""Waiting for descriptors that the program owns, with the signatures of `trio.lowlevel`.

A program may leave bytes behind when it reads from its own descriptor, so each wait has to ask the
system afresh. Trio's own poller does exactly that, and knows the waits of the rest of the program;
a second set beside it could only miss its conflicts. These three are therefore Trio's.
"""

from __future__ import annotations

from trio.lowlevel import notify_closing as notify_closing
from trio.lowlevel import wait_readable as wait_readable
from trio.lowlevel import wait_writable as wait_writable
