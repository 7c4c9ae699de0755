"""Metrics for Prometheus: collectors over the statistics of runs, listeners and requests.

`RunCollector` and `RequestCollector` are collectors for the package ``prometheus_client``, which
the extra ``prometheus`` installs. Register each once. They read the figures when Prometheus asks
for them. Only a server with `anyio_mio.asgi.RequestStatistics` counts anything for them.

`anyio-mio serve --metrics` needs no collector: its supervisor merges the metrics of all workers,
and those that the application has registered in prometheus_client's default registry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, final

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "anyio_mio.metrics needs the package 'prometheus_client'\n"
        "  right: pip install 'anyio-mio[prometheus]', or '.[prometheus]' in a checkout"
    ) from error

from anyio_mio._kernel.kernel import Kernel, running_kernel
from anyio_mio._kernel.run import living_kernels
from anyio_mio.console.observing import process_figures
from anyio_mio.console.pictures import ask
from anyio_mio.lowlevel import ListenerState, RunStatistics, statistics_of

if TYPE_CHECKING:  # it needs another extra
    from anyio_mio.asgi.statistics import RequestStatistics

__all__ = ["RequestCollector", "RunCollector"]

T = TypeVar("T")


@final
class RunCollector(Collector):
    """Collects the figures of all runs of mio in this process, and of their listeners.

    It may be called in any thread: by ``prometheus_client.start_http_server()`` in its own thread,
    or by a handler of the program. It answers even if a run is stuck.

    It adds up the runs of one process.
    """

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        answers = [ask_run(kernel, partial(figures_of, kernel)) for kernel in [*living_kernels]]
        yield from run_families([figures for figures, _ in answers])
        lag = max((seconds for _, seconds in answers), default=0.0)
        yield gauge("loop_lag_seconds", "Seconds that a run took to answer a question.", lag)
        yield from listener_families(
            each for (statistics, *_), _ in answers for each in statistics.listeners
        )


@final
class RequestCollector(Collector):
    """Collects the figures of the requests to a server of `anyio_mio.asgi`.

    Args:
        statistics: the object that `anyio_mio.asgi.serve()` has as its option ``statistics``.
    """

    def __init__(self, statistics: RequestStatistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        return request_families(self._statistics)


RunFigures = tuple[RunStatistics, int, int]
"""A run's statistics, how often it has polled, and how many steps were slow."""


def figures_of(kernel: Kernel) -> RunFigures:
    """Return the figures of one run; called in its thread unless it is stuck."""
    return statistics_of(kernel), kernel.turns, kernel.slow_steps


def current_figures() -> RunFigures:
    """Return the figures of the run in this thread."""
    return figures_of(running_kernel())


def ask_run(kernel: Kernel, question: Callable[[], T]) -> tuple[T, float]:
    """Ask a run from any thread, also from its own; return how long it took as well."""
    if kernel.thread == threading.get_ident():
        return question(), 0.0
    return ask(kernel, question)


def run_families(runs: Sequence[RunFigures]) -> Iterator[Metric]:
    """Return the metrics of runs, added up."""
    every = [statistics for statistics, *_ in runs]
    polls = sum(polls for _, polls, _ in runs)
    slow = sum(steps for _, _, steps in runs)
    reactors = [each.reactor for each in every]
    yield gauge("tasks", "Tasks that are not done.", sum(e.tasks for e in every))
    yield gauge("runnable_tasks", "Tasks that can run now.", sum(e.runnable for e in every))
    yield gauge("deadlines", "Scopes and sleeps with a deadline.", sum(e.deadlines for e in every))
    yield gauge(
        "registrations",
        "Descriptors that the poll watches.",
        sum(r.registrations for r in reactors),
    )
    yield gauge(
        "waiting_tasks", "Tasks that wait for a descriptor.", sum(r.tasks_waiting for r in reactors)
    )
    yield counter("polls", "Times that a run has polled.", polls)
    yield counter("events", "Events that the poll returned.", sum(r.events for r in reactors))
    yield counter(
        "stale_events",
        "Events for descriptors that were closed already.",
        sum(r.stale_events for r in reactors),
    )
    yield counter("slow_steps", "Steps that blocked a loop longer than slow_step.", slow)
    threads = process_figures()["worker_threads"]
    yield gauge("worker_threads", "Threads that run blocking functions, or could.", threads)


def listener_families(listeners: Iterable[ListenerState]) -> Iterator[Metric]:
    """Return the metrics of listeners, by address."""
    every = [(each.address, each.statistics) for each in listeners]
    opened = gauge("connections_open", "Accepted connections that are not closed.", label="address")
    for address, figures in every:
        opened.add_metric([address], figures.open)
    yield opened
    for name, text in LISTENER_COUNTERS.items():
        family = counter(f"connections_{name}", text, label="address")
        for address, figures in every:
            family.add_metric([address], getattr(figures, name))
        yield family


LISTENER_COUNTERS: Final = {
    "accepted": "Connections that were accepted.",
    "aborted": "Connections that were gone before they could be served.",
    "backed_off": "Times that a listener waited for descriptors or memory.",
    "shed": "Connections that were closed because they could not be served.",
}
"""Fields of `ListenerStatistics` that only grow."""


def request_families(statistics: RequestStatistics) -> Iterator[Metric]:
    """Return the metrics of requests."""
    yield gauge("http_requests_active", "Requests that the application has now.", statistics.active)
    answers = CounterMetricFamily(
        full_name("http_requests"), "Requests by the answer's status.", labels=["method", "status"]
    )
    for (method, status), count in [*statistics.answers.items()]:
        answers.add_metric([method, status_label(status)], count)
    yield answers
    bounds = [*map(str, statistics.bounds), "+Inf"]
    yield HistogramMetricFamily(
        full_name("http_request_duration_seconds"),
        "Seconds from a request's head to the end of its answer.",
        buckets=[*zip(bounds, running_total(statistics.durations), strict=True)],
        sum_value=statistics.seconds,
    )
    yield by_status("http_refused", "Answers to what was no request.", statistics.refused)
    yield gauge("websockets_open", "WebSockets that are open.", statistics.open_websockets)
    yield by_status("websockets", "WebSockets that have ended, by status.", statistics.websockets)


def by_status(name: str, text: str, counts: dict[int, int]) -> CounterMetricFamily:
    """Return a counter with the label ``status``."""
    family = counter(name, text, label="status")
    for status, count in [*counts.items()]:
        family.add_metric([status_label(status)], count)
    return family


def status_label(status: int) -> str:
    """Return a status as a label: 200, or ``none`` if the client got no answer."""
    return str(status) if status else "none"


def running_total(counts: Iterable[int]) -> Iterator[int]:
    """Return the sums from the first number to each: buckets of a histogram contain the lower."""
    total = 0
    for count in counts:
        total += count
        yield total


def full_name(name: str) -> str:
    """Return the name of a metric."""
    return f"anyio_mio_{name}"


def gauge(
    name: str, text: str, value: float | None = None, *, label: str | None = None
) -> GaugeMetricFamily:
    """Return a gauge with one value, or with one label and no value yet."""
    labels = [label] if label else None
    return GaugeMetricFamily(full_name(name), text, value=value, labels=labels)


def counter(
    name: str, text: str, value: float | None = None, *, label: str | None = None
) -> CounterMetricFamily:
    """Return a counter with one value, or with one label and no value yet."""
    labels = [label] if label else None
    return CounterMetricFamily(full_name(name), text, value=value, labels=labels)
