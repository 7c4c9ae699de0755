"""The metrics of a server: those of all workers, past and present, and of the supervisor.

Facts. Prometheus treats a counter that falls as a restart of the whole server. When a worker is
recycled, its counters are lost with it. While a worker is replaced, its slot has two processes.

Decision. Metrics that only grow (counters, histograms, summaries) are added up over all workers,
and the last values of a worker that has ended stay in the sum. Gauges are shown for each running
process, with the labels ``worker`` and ``pid``.

Cost. Nothing until the metrics are requested; then one message to each worker and back. If a worker
does not answer in time, its last values are used. A killed worker sends no last values, so the
counts since its last answer are lost.

This module needs the extra ``prometheus``, and is imported only where metrics are asked for.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers need a system with fork() and UNIX sockets")

from collections.abc import Iterable, Iterator
from typing import Final, final

import anyio
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from anyio_mio._supervisor.management import Answer
from anyio_mio._supervisor.metric_sums import ADDED_UP, Family, MetricSums
from anyio_mio._supervisor.supervisor import Supervisor
from anyio_mio._supervisor.worker_process import WorkerProcess

PATIENCE: Final = 1.0
"""Seconds that workers have to send their metrics."""


@final
class ServerMetrics:
    """Makes the page ``/metrics``.

    Args:
        supervisor: the workers' supervisor.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def page(self, accept: str) -> Answer:
        """Ask all workers and return the metrics, as text or as OpenMetrics.

        Args:
            accept: the media types that the client takes.
        """
        with anyio.move_on_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for worker in self._supervisor.processes():
                    group.start_soon(worker.ask_for_metrics)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self._merge())
        encode, kind = choose_encoder(accept)
        return Answer(encode(registry), kind=kind)

    def _merge(self) -> Merged:
        """Add up the answers. There is no checkpoint, so that no worker counts twice."""
        merged = Merged(supervisor_families(self._supervisor))
        merged.add_sums(self._supervisor.ended.families())
        for worker in self._supervisor.processes():
            merged.add_sums(worker.families)
            merged.add_gauges(worker)
        return merged


@final
class Merged(Collector):
    """The metrics of several workers, added up or side by side; for a registry.

    Args:
        others: metrics that are added as they are.
    """

    def __init__(self, others: Iterable[Metric] = ()) -> None:
        self._others = list(others)
        self._metrics: dict[str, Metric] = {}
        self._sums = MetricSums()

    def add_sums(self, families: Iterable[Family]) -> None:
        """Add the metrics that only grow."""
        self._sums.add(families)

    def add_gauges(self, worker: WorkerProcess) -> None:
        """Add the gauges of a running worker."""
        labels_of_worker = {"worker": str(worker.number), "pid": str(worker.pid)}
        for name, kind, text, samples in worker.families:
            if kind not in ADDED_UP:
                metric = self._metrics.setdefault(name, Metric(name, text, kind))
                for sample, labels, value in samples:
                    own = {rename(label, labels_of_worker): labels[label] for label in labels}
                    metric.add_sample(sample, {**own, **labels_of_worker}, value)

    def collect(self) -> Iterator[Metric]:
        """Return all of them."""
        for name, kind, text, samples in self._sums.families():
            metric = Metric(name, text, kind)
            for sample in samples:
                metric.add_sample(*sample)
            yield metric
        yield from self._metrics.values()
        yield from self._others


def rename(label: str, taken: Iterable[str]) -> str:
    """Return an application's label, with Prometheus's prefix if it has the name of one of ours."""
    return f"exported_{label}" if label in taken else label


def supervisor_families(supervisor: Supervisor) -> Iterator[Metric]:
    """Return the supervisor's metrics of its workers."""
    ready = GaugeMetricFamily(
        "anyio_mio_worker_ready", "Whether a worker's place has one that serves.", labels=["worker"]
    )
    for slot in supervisor.slots:
        is_ready = slot.current is not None and slot.current.is_ready
        ready.add_metric([str(slot.number)], int(is_ready))
    yield ready
    replaced = CounterMetricFamily(
        "anyio_mio_workers_replaced", "Workers that had to be replaced, and why.", labels=["reason"]
    )
    for reason, count in supervisor.replaced.items():
        replaced.add_metric([reason], count)
    yield replaced
