"""The token: the number by which a program recognizes a registration."""

from __future__ import annotations

from typing import NewType

Token = NewType("Token", int)
"""What an event carries to identify its source. The caller of `register()` chooses it.

It is an `int` that a type checker tells from a descriptor: handing one in for the other is the
mistake that it prevents. While running it *is* the int, so it compares, hashes, counts and prints
like one, indexes a list of connections, and costs nothing.

    SERVER = Token(0)

Below the tokens, an owner can stand in the registry's book itself: `Registry.add`.
"""
