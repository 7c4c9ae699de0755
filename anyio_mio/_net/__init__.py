"""Sockets, listeners, and the acceptor.

The streams, listeners and datagram sockets here are AnyIO's own classes on a `Registration`: no
transport, no protocol, no buffer. They run on mio's kernel. Inside ``trio.run`` run the streams and
listeners of `anyio_mio.trio`, which have Trio's interfaces; what they share with these is the
acceptor with its error rules and its back-off, the making of sockets that never block, the rule for
UNIX paths, and the checks of a server's arguments.

Map: `socket_base` is what all have in common; `streams`, `unix_streams`, `datagrams` and `pipes`
are the kinds; `connect` makes outgoing connections. `acceptor` takes incoming ones, `accept_errors`
says what an error means, `backoff` waits, `accept_queue` ends a listener so that no connection is
lost, and `listeners` has AnyIO's face of it. Small parts: `non_blocking` sockets, `unix_paths`,
`arguments` and `logs` of servers, `descriptor_table`, which makes room for connections, and
`socket_names`, which the task tree shows.

Rules:

* N1 After an edge, accept until WouldBlock or until the batch is spent; a spent batch goes on
  without a new edge.
* N2 An accepted socket always has an owner: no await stands between accept and the hand-over.
* N3 Out of descriptors or memory is back-pressure and never the end of a listener; errors of one
  connection concern that connection; the rest is raised.
* N4 Closing wakes the tasks that wait, with the closed error, before the descriptor is released.
* N5 Every operation asks for budget before it does anything, so a cancelled one has no effect.
* N6 Try first, wait after: a socket reaches the selector when it would block, not before.
"""
