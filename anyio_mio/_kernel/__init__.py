"""Tasks, cancel scopes and the clock: the kernel decides which task runs next, and for how long.

The kernel does not know AnyIO or sockets. It drives the reactor, and the reactor knows it only as a
`Scheduler`.

Map:

* the run: `run` begins and ends it, `kernel` has the run queue and the turn, `running` knows which
  kernel runs in this thread, and `stepper` is the kernel as the modules below see it.
* the task: `task`, `traps` (how it suspends), `outcome` (how it ended), `foreign_loop` (its face
  for asyncio), `async_generators`.
* what tasks do: `task_group`, `starting`, `cancel_scope`, `cancelled`, `deadlines`, `clock`,
  `idle`, `fairness` (for how long).
* what comes from outside: `entry`, `worker_threads`, `interrupts`.
* what looks inside: `instruments`, `task_tree`, `watchdog`.

Rules:

* K1 A task is exactly one of running, runnable, parked and done.
* K2 A turn polls, then steps each task that was woken before, in the order of the wake-ups.
* K3 A task that yields lets all runnable tasks run first, and continues in the slice at the end of
  a turn: half a millisecond, or until the next deadline. No task delays the I/O, timers or signals
  of
      other tasks for longer, and no task that yielded waits for ever.
* K4 No child outlives its task group.
* K5 A parked task is resumed once, by the code that takes it out of its wait queue.
* K6 Cancellation is delivered at checkpoints only, is level-triggered, and a wake-up beats a later
  cancel.
* K7 Every async primitive checks for cancellation. A cancelled task has no budget, so the check is
  the same comparison that keeps tasks fair.
* K8 Only the entry queue may be used from other threads and from signal handlers.
* K9 A task has one wait. If other code steps a coroutine of the task and drops it, the wait that
  remains ends before the task's next wait, its next checkpoint or its end.
"""
