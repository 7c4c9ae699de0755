"""Step 4: a kernel with tasks, task groups and cancellation."""

import types
from collections import deque

from anyio_mio.poll import Events, Poll

poll, events = Poll(), Events(128)
runnable = deque()  # tasks that can go on
parked = {}  # tasks that wait, by what they wait for


class Cancelled(BaseException):  # new
    """Raised by the wait of a cancelled task; no `except Exception` catches it."""


@types.coroutine
def park(key):
    yield key


def wake(key):
    if key in parked:
        runnable.append(parked.pop(key))


class Task:
    """A coroutine, and the group that hears of its end."""

    def __init__(self, coroutine, group):
        self.coroutine, self.group = coroutine, group
        self.key, self.is_cancelled = None, False  # new

    def step(self):
        try:
            if self.is_cancelled and self.key is not None:  # new
                self.is_cancelled = False
                self.key = self.coroutine.throw(Cancelled)
            else:
                self.key = self.coroutine.send(None)
        except (StopIteration, Cancelled):
            self.group.task_done(self)
        except Exception as error:
            self.group.task_done(self, error)
        else:
            parked[self.key] = self
            if self.is_cancelled:  # new: by itself, or before it began
                wake(self.key)

    def cancel(self):  # new
        self.is_cancelled = True
        wake(self.key)


class TaskGroup:
    """Tasks, and a block that waits for them."""

    def __init__(self):
        self.tasks, self.errors = set(), []

    def start_soon(self, function, *arguments):
        task = Task(function(*arguments), self)
        self.tasks.add(task)
        runnable.append(task)

    def task_done(self, task, error=None):
        self.tasks.remove(task)
        if error:
            self.errors.append(error)
            self.cancel()  # new: the others are not needed any more
        wake(self)

    def cancel(self):  # new
        for task in self.tasks:
            task.cancel()

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, traceback):
        if error:  # new: the body failed, or was cancelled
            self.cancel()
        while self.tasks:
            try:
                await park(self)
            except Cancelled as cancelled:  # new: the tasks end first, then the block does
                error = cancelled
                self.cancel()
        if self.errors:
            raise ExceptionGroup("tasks failed", self.errors)
        if error:  # new
            raise error


def run(function, *arguments):
    main = TaskGroup()
    main.start_soon(function, *arguments)
    while main.tasks:
        poll.poll(events, 0 if runnable else None)
        for event in events:
            wake(event.token)
        for _ in range(len(runnable)):
            runnable.popleft().step()
    if main.errors:
        raise main.errors[0]
