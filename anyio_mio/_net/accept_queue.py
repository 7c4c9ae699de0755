"""Close a listening socket without resetting a connection in its queue.

Facts. The system completes a connection and queues it before the server calls ``accept()``: the
client is connected, and may have sent its request. ``close()`` resets the connections in the queue.
So a server that stops accepts the queue and then closes the socket. A connection that arrives
between these two calls is reset, and the client cannot know whether the server processed its
request. Under load this happens at one stop of ten.

Decision. Before the last ``accept()``, the server makes the system refuse new connections. For TCP
on Linux, a filter on the socket drops the first packet of a connection (SYN), and no other packet,
so handshakes under way complete. The client's system sends the packet again after one second. By
then the address refuses connections, or another server has it. For UNIX sockets, ``shutdown()``
refuses connections and keeps the queue.

Cost. Two system calls when a server stops. Other systems have no such filter, and reset such a
connection.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from array import array
from contextlib import suppress
from typing import Final

SO_ATTACH_FILTER: Final = 26

HANDSHAKE_TIME: Final = 0.1
"""Seconds in which handshakes that are under way may complete, where clients are on a network."""

FLAGS_OF_TCP: Final = 13
"""Where the flags are in a TCP header."""

ACK: Final = 0x10
"""The flag that every packet has but the first one of a connection."""

LOAD_BYTE: Final = 0x30  # BPF_LD | BPF_B | BPF_ABS
JUMP_IF_SET: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN: Final = 0x06  # BPF_RET | BPF_K
WHOLE_PACKET: Final = 0xFFFFFFFF

DROPS_FIRST_PACKETS: Final = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (LOAD_BYTE, 0, 0, FLAGS_OF_TCP),
        (JUMP_IF_SET, 1, 0, ACK),
        (RETURN, 0, 0, 0),
        (RETURN, 0, 0, WHOLE_PACKET),
    )
)
"""A program for the system's packet filter: four instructions, eight bytes each."""


def refuse_new(sock: socket.socket) -> None:
    """Make a listening socket refuse new connections; those in its queue can still be accepted.

    This concerns all processes that have the socket. Do nothing on other systems than Linux.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):
        if sock.family == socket.AF_UNIX:
            sock.shutdown(socket.SHUT_RD)
        else:
            program = array("B", DROPS_FIRST_PACKETS)
            address, size = program.buffer_info()
            described = struct.pack("HP", size // 8, address)
            sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)


def is_reached_by_network(sock: socket.socket) -> bool:
    """Return whether handshakes with a listening socket take time: not on this machine."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return not ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback
