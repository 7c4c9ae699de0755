"""Accept every connection: on the listener's event, until the operation would block.

    python examples/accept_loop.py 1234   # serves this port until Ctrl-C

One event stands for any number of queued connections, and what is left in the queue makes no event
of its own. `BlockingIOError` alone means "no more for now". After other errors go on, or come back.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable

from anyio_mio.poll import Event, Events, Interest, Poll, Token

SERVER = Token(0)
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
LISTENER_IS_BROKEN = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP}


def main(port: int) -> None:
    with Poll() as poll, socket.create_server(("127.0.0.1", port)) as server:
        server.setblocking(False)
        poll.registry.register(server, SERVER, Interest.READABLE)
        events = Events(128)
        some_left = False
        while True:
            poll.poll(events, 0.1 if some_left else None)
            if some_left or any(is_for_server(event) for event in events):
                some_left = accept_all(poll, server, handle=socket.socket.close)


def is_for_server(event: Event) -> bool:
    assert event.token == SERVER, f"unreachable: nothing is registered with the token of {event!r}"
    return True


def accept_all(poll: Poll, server: socket.socket, handle: Callable[[socket.socket], None]) -> bool:
    """Hand each queued connection to `handle`, and say whether some had to be left behind."""
    while True:
        try:
            connection, address = server.accept()
        except BlockingIOError:
            poll.registry.would_block(server, Interest.READABLE)
            return False
        except OSError as error:
            if error.errno in LISTENER_IS_BROKEN:
                raise
            print(f"Accept error: {error}")
            if error.errno in NO_ROOM:
                return True
        else:
            print(f"Accepted connection from: {address}")
            handle(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1234)
