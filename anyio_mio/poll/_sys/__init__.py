"""The part of each platform: a selector, the `bits` of its events, and the `timeout` of a wait.

`selector` has the protocol that each selector implements and chooses the default one; `epoll`,
`kqueue` and `level` implement it, and `busy_poll` wraps any of them. `scan` has the system calls of
the level selector, `winsock` has Windows' ``select()``, and `closable` is the base class of objects
that a ``with`` block closes.

Rules:

1. Only this package imports `select`.
2. A selector knows descriptors and bits, but not tokens, registrations or tasks.
3. Bits have the values of Linux's epoll on every platform, so that Linux needs no translation.
"""
