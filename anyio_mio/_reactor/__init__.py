"""Cached readiness: which descriptors would not block, and which tasks wait for the others.

The reactor turns the raw ``(fd, bits)`` pairs of a poll into readiness and wake-ups. It does not
know tasks or the clock, but only a small protocol, `Scheduler`: an operation that must wait parks
its task with it. mio's kernel is one scheduler. `anyio_mio.trio` has another, and subclasses of the
reactor and the registration, because its sockets can also wait on Trio's own poller.

Map: `scheduler` has the protocol. `registration` is the state of one descriptor. `reactor` has all
    registrations and the turn. `foreign` has the waits for descriptors that the program owns.
    `dead_selector` replaces the selector in a forked child.

Rules:

* R1 A registration reaches the selector lazily, at the first WouldBlock, once per descriptor, for
  both directions, edge-triggered with RDHUP. Bytes that are already there cost no ``epoll_ctl``.
* R2 An event sets bits and wakes. Only an operation that saw WouldBlock, or a short read or write
  where that proves the same, clears its direction's bit, with no await after the system call.
  A short read proves it on native edges of a selector that reports PRIORITY: today, on epoll.
* R3 Closed bits are final, and imply ready: no operation blocks on a closed direction. If an
  operation does block, the bits came with a stale event, and the operation clears them.
* R4 There is one waiter per direction; the second gets the scheduler's busy error.
* R5 Closing wakes the waiters with the scheduler's closed error before the descriptor is released.
  A stale event for a reused descriptor is at worst a spurious wake-up, and it is counted.
  Closing the last descriptor of a socket also removes its entry in the selector. If a duplicate may
  exist (the raw socket was handed out, or the process has forked), a call removes the entry.
* R6 Foreign descriptors (``wait_readable(fd)``) keep level semantics: each wait arms its entry
  again.
* R7 After a fork the child's reactor is dead: any use raises an error, and the shared epoll is not
  touched.
"""
