"""Notifications for a service manager: ``Type=notify`` of systemd.

The protocol is a datagram to the UNIX socket in ``NOTIFY_SOCKET``, with ``NAME=VALUE`` on each
line; see sd_notify(3). A manager that does not read must not stop the server, so sending never
waits.
"""

from __future__ import annotations

import socket
import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

import os
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final, final

import anyio

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@final
class ServiceManager:
    """The service manager that started this process, if it expects notifications.

    Args:
        path: its socket; ``@`` begins an abstract name, and an empty path means that there is none.
        watchdog: the seconds within which it expects a sign of life; 0 for never.
    """

    def __init__(self, path: str = "", watchdog: float = 0.0) -> None:
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._watchdog = watchdog

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Read it from the environment and remove it there, so that no child notifies it."""
        path, microseconds, pid = (environment.pop(name, "") for name in VARIABLES)
        is_meant = pid in ("", str(os.getpid())) and microseconds.isdigit()
        return cls(path, int(microseconds) / 1e6 if is_meant else 0.0)

    def ready(self, status: str) -> None:
        """Report that the service is up, or that a reload is over."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Report that a reload has begun; `ready()` ends it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading")

    def stopping(self) -> None:
        """Report that the service stops."""
        self._send("STOPPING=1", "STATUS=stopping")

    async def feed_watchdog(self) -> None:
        """Send signs of life, twice as often as expected, until cancelled."""
        while self._address and self._watchdog:
            self._send("WATCHDOG=1")
            await anyio.sleep(self._watchdog / 2)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)
