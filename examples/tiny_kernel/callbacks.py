"""Step 1: the loop calls the function that stands under the event's token."""

import socket
from functools import partial

from anyio_mio.poll import Events, Interest, Poll, Token

poll, events = Poll(), Events(128)
callbacks = {}  # what to call, by the token of its socket


def call_when_ready(sock, callback):
    sock.setblocking(False)
    callbacks[sock.fileno()] = callback
    poll.registry.register(sock, Token(sock.fileno()), Interest.READABLE)


def accept_all(server):
    while True:
        try:
            connection, _ = server.accept()
        except BlockingIOError:
            return
        connection.send(b"who are you? ")
        call_when_ready(connection, partial(answer, connection))


def answer(connection):
    try:
        name = connection.recv(100)
    except BlockingIOError:
        return
    connection.send(b"hello, " + name)
    del callbacks[connection.fileno()]
    poll.registry.deregister(connection)
    connection.close()


server = socket.create_server(("127.0.0.1", 0))
call_when_ready(server, partial(accept_all, server))
clients = [socket.create_connection(server.getsockname()) for _ in range(3)]
for client, name in zip(clients, [b"Ada", b"Barbara", b"Grace"], strict=True):
    client.send(name)

for _ in range(2):  # one turn accepts, the next one answers
    poll.poll(events, timeout=1)
    for event in events:
        callbacks[event.token]()

for client in clients:
    print(client.recv(100).decode())
    client.close()
server.close()
