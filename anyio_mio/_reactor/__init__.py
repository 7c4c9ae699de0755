"""Cached readiness: which descriptors would not block, and which tasks wait for the others.

The reactor turns the raw ``(fd, bits)`` pairs of a poll into readiness and wake-ups. It does
not know tasks or the clock. It knows a small protocol, `Scheduler`: an operation that must wait
parks its task through it. mio's kernel is one scheduler. `anyio_mio.trio` has the other one, and
subclasses of the reactor and of the registration: its sockets can also wait on Trio's own poller.

Map: `scheduler` has the protocol, `registration` what is known of one descriptor, `reactor` all of
them and the turn. `foreign` has the descriptors that the program owns, and `dead_selector` what a
forked child has in place of its parent's selector.

Rules:

* R1 A registration reaches the selector lazily, at the first WouldBlock, once per descriptor, for
  both directions, edge-triggered with RDHUP. Bytes that are already there cost no ``epoll_ctl``.
* R2 An event sets bits and wakes. Only an operation that saw WouldBlock, or a short read or write
  where that proves the same, clears its direction's bit, with no await after the system call.
  A short read proves it on native edges of a selector that reports PRIORITY: today, on epoll.
* R3 Closed bits are final, and imply ready: no operation blocks on a closed direction. If one
  does block, the bits came with a stale event, and it clears them.
* R4 There is one waiter per direction; the second gets the scheduler's busy error.
* R5 Closing wakes the waiters with the scheduler's closed error before the descriptor is released.
  A stale event for a reused descriptor is at worst a spurious wake-up, and it is counted.
  Closing the last descriptor takes the selector's entry along; only where a duplicate may exist
  (the raw socket was handed out, the process has forked) is it taken out by a call.
* R6 Foreign descriptors (``wait_readable(fd)``) keep level semantics: each wait re-arms.
* R7 After a fork the child's reactor is dead: any use raises and the shared epoll is not touched.
"""
