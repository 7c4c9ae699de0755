"""Look inside a running program: the task tree, a watchdog, a socket for tools, metrics.

`render_tree()` prints the task tree of `anyio_mio.lowlevel.task_tree()`.

Rules:

1. Nothing here costs anything while it is not used.
2. A tool that asks, and does not read the answer, cannot stop the program.
3. An answer comes also while the loop is stuck, from another thread.
"""

from __future__ import annotations

from anyio_mio.console.rendering import render_tree as render_tree

__all__ = ["render_tree"]
