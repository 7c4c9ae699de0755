"""Three visitors, three greetings, and a block that ends when all have gone."""

import socket

from sockets import Socket
from tiny_kernel import TaskGroup, run


async def main():
    with Socket(socket.create_server(("127.0.0.1", 0))) as listener:
        async with TaskGroup() as group:
            for name in (b"Ada", b"Barbara", b"Grace"):
                group.start_soon(visit, listener.sock.getsockname(), name)
            for _ in range(3):
                group.start_soon(greet, await listener.accept())
    print("all have gone")


async def greet(stream):
    with stream:
        await stream.send(b"who are you? ")
        await stream.send(b"hello, " + await stream.receive())


async def visit(address, name):
    with Socket(socket.create_connection(address)) as stream:
        question = await stream.receive()
        await stream.send(name)
        answer = await stream.receive()
        print(question.decode() + answer.decode())


if __name__ == "__main__":
    run(main)
