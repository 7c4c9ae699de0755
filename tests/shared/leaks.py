"""Descriptors and threads that a test leaves behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def open_descriptors() -> set[int]:
    """The descriptors of this process, without the one by which they are listed."""
    with os.scandir("/dev/fd") as entries:
        listed = {int(entry.name) for entry in entries}
    return {fd for fd in listed if is_open(fd)}


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def memory() -> int:
    """Bytes of this process that are in memory; Linux only."""
    import resource  # Windows has none

    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@contextmanager
def nothing_left_open(*, after_collecting: bool = False) -> Iterator[None]:
    """Fail if the block leaves a descriptor open, or closes one that was open before.

    Args:
        after_collecting: collect garbage first, for what may die in a cycle.
    """
    before = open_descriptors()
    yield
    if after_collecting:
        gc.collect()
    assert open_descriptors() == before


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Fail if the block leaves a thread behind; idle ones of other tests may end in it."""
    before = threading.active_count()
    yield
    assert threading.active_count() <= before
