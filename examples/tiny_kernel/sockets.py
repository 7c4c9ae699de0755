"""Sockets on the tiny kernel: try, and wait for an event when it would block."""

from tiny_kernel import park, poll

from anyio_mio.poll import Interest, Token


class Socket:
    """A socket that the poll watches until the end of the `with` block."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock, self.token = sock, Token(sock.fileno())
        poll.registry.register(sock, self.token, Interest.READABLE | Interest.WRITABLE)

    async def attempt(self, operation, *arguments):
        while True:
            try:
                return operation(*arguments)
            except BlockingIOError:
                await park(self.token)

    async def accept(self):
        connection, _ = await self.attempt(self.sock.accept)
        return Socket(connection)

    async def receive(self):
        return await self.attempt(self.sock.recv, 4096)

    async def send(self, data):
        while data:
            data = data[await self.attempt(self.sock.send, data) :]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        poll.registry.deregister(self.sock)
        self.sock.close()
