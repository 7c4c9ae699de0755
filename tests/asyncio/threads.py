"""Other threads in tests of the loop."""

from __future__ import annotations

import time
from typing import Any


def until_it_sleeps(loop: Any) -> None:
    """Wait in another thread until the run of a loop has nothing to do."""
    for _ in range(2):  # between two steps it looks like that too
        time.sleep(0.02)
        while loop._kernel.current is not None or loop._callbacks.is_running:
            time.sleep(0.001)
