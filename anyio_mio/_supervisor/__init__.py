"""What `anyio-mio serve` does: a supervisor, and workers that serve.

The supervisor owns the listening sockets and passes them on to its workers, so a worker can end,
crash or be replaced, and what clients have queued waits for the next one: nobody is refused.

Rules:

1. Sockets are made and closed by the supervisor alone; a worker closes its own copies.
2. Workers get a configuration and descriptors, and send back one JSON object a line.
3. Everything here uses what any user of the package may use.
"""
