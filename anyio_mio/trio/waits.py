"""Wait for descriptors that the program owns, with the functions of `trio.lowlevel`.

A program may leave bytes unread on its own descriptor, so each wait has to ask the system again.
Trio's own poller does that. It also knows the other waits of the program, and reports two tasks
that wait for one descriptor. So these functions are Trio's.
"""

from __future__ import annotations

from trio.lowlevel import notify_closing as notify_closing
from trio.lowlevel import wait_readable as wait_readable
from trio.lowlevel import wait_writable as wait_writable
