"""The token: the number by which a program recognizes a registration."""

from __future__ import annotations

from typing import NewType

Token = NewType("Token", int)
"""The value in an event that identifies its source. The caller of `register()` chooses it.

For a type checker it is a type of its own, so that a descriptor passed as a token is an error. At
run time it is a plain `int`: it compares, hashes and prints like one, can index a list of
connections, and costs nothing.

    SERVER = Token(0)

Code below the public API can put the owner itself into the registry's book: `Registry.add`.
"""
