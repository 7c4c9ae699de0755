"""Sums of the metrics of several workers, for metrics that only grow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, final

ADDED_UP: Final = frozenset({"counter", "histogram", "summary"})
"""The types of metrics that only grow."""

Family = list[Any]
"""A metric as a worker sends it: name, type, text, and samples of a name, labels and a value."""

Labels = tuple[tuple[str, str], ...]


@final
class MetricSums:
    """Adds up counters, histograms and summaries."""

    def __init__(self) -> None:
        self._metrics: dict[str, tuple[str, str, dict[tuple[str, Labels], float]]] = {}

    def add(self, families: Iterable[Family]) -> None:
        """Add the counters of one worker, without its gauges."""
        for name, kind, text, samples in families:
            if kind in ADDED_UP:
                _, _, sums = self._metrics.setdefault(name, (kind, text, {}))
                for sample, labels, value in samples:
                    key = (sample, tuple(labels.items()))
                    sums[key] = sums.get(key, 0.0) + value

    def families(self) -> list[Family]:
        """Return the sums, in the form in which a worker sends its metrics."""
        return [
            [name, kind, text, [[s, dict(labels), value] for (s, labels), value in sums.items()]]
            for name, (kind, text, sums) in self._metrics.items()
        ]
