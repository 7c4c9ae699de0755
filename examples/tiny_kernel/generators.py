"""Step 2: a task is a generator, which yields the token that it waits for."""

import socket
from collections import deque

from anyio_mio.poll import Events, Interest, Poll, Token

poll, events = Poll(), Events(128)
runnable = deque()  # tasks that can go on
parked = {}  # tasks that wait, by the token that they wait for


def run():
    while runnable or parked:
        poll.poll(events, 0 if runnable else None)
        for event in events:
            if event.token in parked:
                runnable.append(parked.pop(event.token))
        for _ in range(len(runnable)):
            step(runnable.popleft())


def step(task):
    try:
        token = next(task)  # run it to its next `yield`
    except StopIteration:
        return
    parked[token] = task


def attempt(sock, operation, *arguments):
    while True:
        try:
            return operation(*arguments)
        except BlockingIOError:
            yield Token(sock.fileno())


def register(sock):
    sock.setblocking(False)
    poll.registry.register(sock, Token(sock.fileno()), Interest.READABLE)


def close(sock):
    poll.registry.deregister(sock)
    sock.close()


def serve(server, number):
    register(server)
    for _ in range(number):
        connection, _ = yield from attempt(server, server.accept)
        runnable.append(greet(connection))
    close(server)


def greet(connection):
    register(connection)
    connection.send(b"who are you? ")
    name = yield from attempt(connection, connection.recv, 100)
    connection.send(b"hello, " + name)
    close(connection)


def visit(address, name):
    client = socket.create_connection(address)
    register(client)
    question = yield from attempt(client, client.recv, 100)
    client.send(name)
    answer = yield from attempt(client, client.recv, 100)
    print(question.decode() + answer.decode())
    close(client)


server = socket.create_server(("127.0.0.1", 0))
runnable.append(serve(server, 3))
for name in (b"Ada", b"Barbara", b"Grace"):
    runnable.append(visit(server.getsockname(), name))
run()
