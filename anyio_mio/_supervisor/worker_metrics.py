"""The metrics of one worker, as types that JSON has: see `metric_sums.Family`.

They are the metrics of its run, its listeners and its requests, and the metrics that the
application has registered in prometheus_client's default registry. The supervisor requests them
when it needs them, and gets them once more when the worker ends.

This module needs the extra ``prometheus``, and is imported only where metrics are asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, final

from prometheus_client import REGISTRY
from prometheus_client.core import Metric

from anyio_mio._supervisor.metric_sums import Family
from anyio_mio.lowlevel import ListenerState
from anyio_mio.metrics import (
    current_figures,
    gauge,
    listener_families,
    request_families,
    run_families,
)

if TYPE_CHECKING:
    from anyio_mio.asgi import RequestStatistics

LOGGER: Final = logging.getLogger("anyio_mio.metrics")

CREATED: Final = "_created"
"""Samples with the start time of a counter. Those of several workers cannot be merged."""


@final
class WorkerMetrics:
    """Collects all metrics of this process.

    Args:
        listeners: its listeners, which count even after they were closed.
        requests: the counters of its server; None if it serves no application.

    Attributes:
        lag: how late the run's last timer was, in seconds.
    """

    def __init__(self, listeners: Sequence[Any], requests: RequestStatistics | None) -> None:
        self._listeners = [(each.address_in_words(), each) for each in listeners]
        self._requests = requests
        self.lag = 0.0

    def families(self) -> list[Family]:
        """Return the current metrics; called in the run's thread."""
        return [to_json(metric) for metric in self._collect()]

    def _collect(self) -> Iterator[Metric]:
        yield from run_families([current_figures()])
        yield gauge(
            "loop_lag_seconds", "Seconds by which the loop's last timer was late.", self.lag
        )
        yield from listener_families(
            ListenerState(address, each.statistics()) for address, each in self._listeners
        )
        if self._requests is not None:
            yield from request_families(self._requests)
        yield from of_the_application()


def of_the_application() -> list[Metric]:
    """Return the application's own metrics, without the collectors of `anyio_mio.metrics`."""
    try:
        return [each for each in REGISTRY.collect() if not each.name.startswith("anyio_mio_")]
    except Exception:
        LOGGER.exception("a collector of the application failed")
        return []


def to_json(metric: Metric) -> Family:
    """Return a metric as types that JSON has."""
    samples = [
        [sample.name, dict(sample.labels), sample.value]
        for sample in metric.samples
        if sample.name != metric.name + CREATED
    ]
    return [metric.name, metric.type, metric.documentation, samples]
