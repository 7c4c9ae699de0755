"""Sockets, listeners and the serve loop.

Streams are AnyIO's own classes on a `Registration`: no transport, no protocol, no buffer. They know
no scheduler; what must wait is parked through the protocol, so they also work inside Trio.

Rules:

* N1 After an edge, accept until WouldBlock or until the batch is spent; a spent batch goes on
  without a new edge.
* N2 An accepted socket always has an owner: no await stands between accept and the hand-over.
* N3 Out of descriptors or memory is back-pressure and never the end of a listener; errors of one
  connection concern that connection; the rest is raised.
* N4 Closing wakes whoever waits, with the closed error, before the descriptor is released.
* N5 Every operation asks for budget before it does anything, so a cancelled one has no effect.
* N6 Try first, wait after: a socket reaches the selector when it would block, not before.
"""
