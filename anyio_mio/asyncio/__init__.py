"""asyncio on mio: libraries that know asyncio only, in tasks of mio and on mio's poller.

In a run of mio nothing has to be called: as soon as a program has imported asyncio, the run has an
asyncio loop, and its tasks can await asyncio's futures::

    import anyio
    import asyncpg
    import anyio_mio


    async def main():
        async with asyncpg.create_pool(DSN) as pool, anyio.create_task_group() as group:
            group.start_soon(pool.fetch, "select 1")


    anyio_mio.run(main)

A program that is written for asyncio can run on mio's event loop::

    with asyncio.Runner(loop_factory=anyio_mio.asyncio.new_event_loop) as runner:
        runner.run(main())

Map: `loop` has the loop, `run_loop` the one of a run, `event_loop` the one without a run. They are
made of `callbacks`, `descriptors` with `watch`, `transports` and `other_threads`. `task_face` is
what asyncio sees of a task of mio; `clean_up` and `circles` help it to cancel. `tasks` runs a task
of mio from an asyncio task. `task_states` and `time_limits` describe tasks for the task tree.
`asyncio_internals` has the private names of asyncio.

Rules:

* A1 The loop is a face of the kernel: a task of the kernel runs the callbacks and asyncio's tasks,
  timers are deadlines of the kernel, descriptors are registered with its poll.
* A2 Cancellation works across both. A cancelled scope cancels the future that a task of mio awaits,
  as ``task.cancel()`` does, and the task resumes when the future is done. ``task.cancel()``,
  ``asyncio.timeout()`` and asyncio's ``TaskGroup`` work in a task of mio.
* A3 In asyncio's callbacks and tasks sniffio returns "asyncio", in mio's tasks "mio".
* A4 At the end of the run asyncio's tasks are cancelled and awaited. Then its async generators and
  its default executor are shut down, as in `asyncio.run()`.
* A5 What a loop cannot do inside a run (``run_forever()``, ``run_until_complete()``, ``stop()``,
  ``close()``) raises an error that says what to write instead.
"""

from __future__ import annotations

from anyio_mio.asyncio.event_loop import EventLoop, new_event_loop
from anyio_mio.asyncio.run_loop import install as _install
from anyio_mio.asyncio.tasks import run_in_task

__all__ = ["EventLoop", "new_event_loop", "run_in_task"]

_install()
