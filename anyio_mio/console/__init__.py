"""Look inside a running program: the task tree, a watchdog, a socket for tools, metrics.

`render_tree()` prints the task tree of `anyio_mio.lowlevel.task_tree()`; `tree_on_signal()` prints
it when a signal comes. `watch_runs()` logs what blocks a loop, and what is never closed.
`observe_runs()` opens a socket for each run of the process, which the commands `anyio-mio tree`,
`anyio-mio stats` and `anyio-mio top` ask; `protocol` says how.

Map: `rendering` prints a tree. `observing` opens the `server` of a process, whose answers
`pictures` makes; `protocol` has the messages. On the other side `client` asks one process, and
`watching` many of them again and again.

Rules:

1. Nothing here costs anything while it is not used.
2. A tool that asks, and does not read the answer, cannot stop the program.
3. An answer comes also while the loop is stuck, from another thread.
"""

from __future__ import annotations

from anyio_mio.console.observing import observe_runs as observe_runs
from anyio_mio.console.observing import render_trees as render_trees
from anyio_mio.console.observing import tree_on_signal as tree_on_signal
from anyio_mio.console.observing import watch_runs as watch_runs
from anyio_mio.console.rendering import render_tree as render_tree

__all__ = ["observe_runs", "render_tree", "render_trees", "tree_on_signal", "watch_runs"]
