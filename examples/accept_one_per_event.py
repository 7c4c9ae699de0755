"""The mistake: one accept for each event. Do not copy this; run it and count.

    python examples/accept_one_per_event.py

Five clients connect before the first look: that is one event. One accept takes one of them, and the
other four make no event, because nothing has changed. A sixth client makes one, and so one more
accept, which gets the second client. From here on the server works, four clients behind, for ever.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack

from anyio_mio.poll import Events, Interest, Poll, Token

SERVER = Token(0)


def main() -> None:
    with ExitStack() as stack:
        poll = stack.enter_context(Poll())
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.setblocking(False)
        poll.registry.register(server, SERVER, Interest.READABLE)
        clients = 0
        accepted = 0
        for newcomers in (5, 0, 1, 0):
            for _ in range(newcomers):
                stack.enter_context(socket.create_connection(server.getsockname()))
            clients += newcomers
            events, connections = one_turn(poll, server)
            for connection in connections:
                stack.enter_context(connection)
            accepted += len(connections)
            print(
                f"{newcomers} new clients: {events} event, {len(connections)} accepted, "
                f"{clients - accepted} still queued"
            )


def one_turn(poll: Poll, server: socket.socket) -> tuple[int, list[socket.socket]]:
    events = Events(128)
    poll.poll(events, timeout=0.1)
    count = len(events)
    # Wrong: it should go on until BlockingIOError.
    return count, [server.accept()[0] for event in events if event.token == SERVER]


if __name__ == "__main__":
    main()
