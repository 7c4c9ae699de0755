"""Compare the cost of one accept for each wake-up with accepts until one would block.

    python benchmarks/accept_cost.py

A child process connects in bursts; the server sleeps until a burst is queued, and accepts it. Both
ways are right: the first is level-triggered, so the poll reports the rest of the queue again.
"""

import os
import socket
import struct
import sys
import time
from contextlib import suppress
from resource import RUSAGE_SELF, getrusage

from anyio_mio.poll import Selector, default_selector
from anyio_mio.poll._sys.bits import READABLE

TOTAL = 4096
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a closed connection leaves nothing in TIME_WAIT


def main() -> None:
    """Print the table."""
    sys.stdout.write("burst  accepted              calls  sleeps  CPU   (for each connection)\n")
    for burst in (1, 16, 256):
        for name, drain in (("one per wake-up", False), ("until it would block", True)):
            calls, sleeps, seconds = (each / TOTAL for each in measure(burst, drain=drain))
            sys.stdout.write(
                f"{burst:5}  {name:20}  {calls:5.2f}  {sleeps:6.3f}  {seconds * 1e6:.1f} µs\n"
            )


def measure(burst: int, *, drain: bool) -> tuple[int, int, float]:
    """Return system calls, sleeps and seconds of CPU time for all connections."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0), backlog=burst) as server:
        if not (child := os.fork()):
            connect_in_bursts(server.getsockname(), burst, theirs)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.setblocking(False)
        with default_selector() as selector:
            selector.register(server.fileno(), READABLE, edge=drain)
            sleeps, start, calls = getrusage(RUSAGE_SELF).ru_nvcsw, time.process_time(), 0
            for _ in range(TOTAL // burst):
                ours.sendall(b"next")
                ours.recv(4)  # sleep until they are queued
                calls += accept_burst(selector, server, burst, drain)
            seconds = time.process_time() - start
        os.waitpid(child, 0)
    return calls, getrusage(RUSAGE_SELF).ru_nvcsw - sleeps, seconds


def accept_burst(selector: Selector, server: socket.socket, burst: int, drain: bool) -> int:
    """Accept a burst; return the number of system calls."""
    calls = accepted = 0
    while accepted < burst:
        selector.select(None, 64)
        calls += 1
        with suppress(BlockingIOError):
            for _ in range(burst + 1 if drain else 1):
                calls += 1
                server.accept()[0].close()
                accepted += 1
    return calls


def connect_in_bursts(address: tuple[str, int], burst: int, wishes: socket.socket) -> None:
    """The child process: a burst for each wish."""
    for _ in range(TOTAL // burst):
        wishes.recv(4)
        clients = [socket.create_connection(address) for _ in range(burst)]
        wishes.sendall(b"done")
        for client in clients:
            client.close()
    os._exit(0)


if __name__ == "__main__":
    main()
