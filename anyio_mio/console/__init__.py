"""Look inside a running program: the task tree, a watchdog, a socket for tools, metrics.

`render_tree()` prints the task tree of `anyio_mio.lowlevel.task_tree()`; `tree_on_signal()` prints
it on a signal. `watch_runs()` logs steps that block a loop, and sockets that are never closed.
`observe_runs()` opens a socket for each run of the process. The commands `anyio-mio tree`,
`anyio-mio stats` and `anyio-mio top` connect to it; `protocol` defines the messages.

Map: `rendering` prints a tree. `observing` opens the `server` of a process, and `pictures` makes
its answers; `protocol` has the messages. On the other side `client` asks one process once, and
`watching` asks many processes repeatedly.

Rules:

1. A program that does not use this room pays nothing for it.
2. A tool that does not read its answer cannot stop the program.
3. The console answers also while the loop is stuck, from another thread.
"""

from __future__ import annotations

from anyio_mio.console.observing import observe_runs as observe_runs
from anyio_mio.console.observing import render_trees as render_trees
from anyio_mio.console.observing import tree_on_signal as tree_on_signal
from anyio_mio.console.observing import watch_runs as watch_runs
from anyio_mio.console.rendering import render_tree as render_tree

__all__ = ["observe_runs", "render_tree", "render_trees", "tree_on_signal", "watch_runs"]
