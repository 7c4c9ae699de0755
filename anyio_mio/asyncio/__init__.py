"""asyncio on mio: libraries that know asyncio only, in tasks of mio and on mio's poller.

In a run of mio nothing has to be called: once a program has loaded asyncio, the run has a loop, and
a task of mio can await asyncio's futures::

    import anyio
    import asyncpg
    import anyio_mio


    async def main():
        async with asyncpg.create_pool(DSN) as pool, anyio.create_task_group() as group:
            group.start_soon(pool.fetch, "select 1")


    anyio_mio.run(main)

A program that is written for asyncio can run on mio's poller::

    with asyncio.Runner(loop_factory=anyio_mio.asyncio.new_event_loop) as runner:
        runner.run(main())

Map: `loop` is the loop; `run_loop` is that of a run, `event_loop` one of its own. Below it are
`callbacks`, `descriptors` and `transports`. `task_face` is what asyncio sees of a task of mio, with
`time_limits`, `clean_up` and `circles` for what it may wait for and how it is cancelled; `tasks`
goes the other way. `task_states` describes both for the task tree. `other_threads` deals with calls
from other threads. `asyncio_internals` has the
private names.

Rules:

* A1 The loop is a face of the kernel: callbacks and asyncio's tasks run in a step of the kernel's
  queue, timers are deadlines of the kernel, descriptors are registered with its poll.
* A2 Cancellation crosses. A cancelled scope cancels the future that a task of mio awaits, as
  ``task.cancel()`` would, and the task goes on when the future is done. ``task.cancel()``,
  ``asyncio.timeout()`` and asyncio's ``TaskGroup`` work in a task of mio.
* A3 In asyncio's callbacks and tasks sniffio answers "asyncio", in mio's tasks "mio".
* A4 At the end of the run asyncio's tasks are cancelled and awaited; then its async generators and
  its default executor are shut down, as `asyncio.run()` does.
* A5 What a loop cannot do inside a run (``run_forever()``, ``run_until_complete()``, ``stop()``,
  ``close()``) raises and says what to write.
"""

from __future__ import annotations

from anyio_mio.asyncio.event_loop import EventLoop, new_event_loop
from anyio_mio.asyncio.run_loop import install as _install
from anyio_mio.asyncio.tasks import run_in_task

__all__ = ["EventLoop", "new_event_loop", "run_in_task"]

_install()
