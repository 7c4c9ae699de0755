"""What a platform supplies: a selector, the `bits` of its events, and the rounding of a `timeout`.

`selector` has the protocol that each selector implements and chooses the default one; `epoll`,
`kqueue` and `level` implement it, and `busy_poll` wraps any of them. `scan` looks for descriptors
that were closed while the level selector watched them, `winsock` has Windows' ``select()``, and
`closable` what closes in a ``with`` block.

Rules:

1. Only this package imports `select`.
2. A selector knows descriptors and bits. It knows no token, no registration and no task.
3. Bits have the values of Linux's epoll on every platform, so that they need no translation there.
"""
