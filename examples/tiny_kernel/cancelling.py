"""A server that is told to stop, and a group in which one task fails."""

import socket

from greetings import greet, visit
from sockets import Socket
from tiny_kernel import TaskGroup, park, run


async def serve(listener):
    async with TaskGroup() as visitors:
        while True:
            visitors.start_soon(greet, await listener.accept())


async def wait_for_ever(name):
    try:
        await park(name)
    finally:
        print(f"{name} has cleaned up")


async def fail():
    raise ValueError("a mistake")


async def main():
    with Socket(socket.create_server(("127.0.0.1", 0))) as listener:
        async with TaskGroup() as server:
            server.start_soon(serve, listener)
            async with TaskGroup() as visitors:
                for name in (b"Ada", b"Barbara", b"Grace"):
                    visitors.start_soon(visit, listener.sock.getsockname(), name)
            server.cancel()
    print("the server has stopped")

    try:
        async with TaskGroup() as group:
            group.start_soon(wait_for_ever, "its neighbour")
            group.start_soon(fail)
    except* ValueError as failed:
        print("it raised:", *failed.exceptions)


run(main)
