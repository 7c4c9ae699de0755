"""Counters of requests, for dashboards. Nothing is counted unless a program asks for it.

A server that is given a `RequestStatistics` costs each request one call and two reads of a clock
more. `anyio_mio.metrics` makes Prometheus' metrics of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import ClassVar, Final, final

BUCKETS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
"""Upper bounds of the durations that are counted together, in seconds."""

METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)
"""The methods with a counter of their own: a client must not be able to create counters."""

OTHER: Final = "other"


@final
class RequestStatistics:
    """The counters of one server; it may be read at any time.

    Attributes:
        bounds: `BUCKETS`.
        requests: requests and WebSockets that have begun.
        active: requests that the application has now.
        answers: how many requests ended so, by method and status; a status of 0 means that the
            client got no answer. A method that is not of HTTP's own counts as ``"other"``.
        durations: how many requests took so long: one number for each of `BUCKETS`, and one for
            longer ones. WebSockets are not counted here.
        seconds: the sum of all durations.
        refused: by status, answers to what was no request, such as 400 and 431; 408 for a head that
            took too long.
        websockets: WebSockets by the status of their handshake.
        open_websockets: those that are open now.
    """

    bounds: ClassVar[tuple[float, ...]] = BUCKETS

    __slots__ = (
        "active",
        "answers",
        "durations",
        "open_websockets",
        "refused",
        "requests",
        "seconds",
        "websockets",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.active = 0
        self.answers: Counter[tuple[str, int]] = Counter()
        self.durations = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.refused: Counter[int] = Counter()
        self.websockets: Counter[int] = Counter()
        self.open_websockets = 0

    def begin(self, is_websocket: bool) -> None:
        """Count a request, or a WebSocket, that the application gets."""
        self.requests += 1
        if is_websocket:
            self.open_websockets += 1
        else:
            self.active += 1

    def end(self, method: str, status: int, seconds: float, is_websocket: bool) -> None:
        """Count its end.

        Args:
            method: of the request.
            status: of the answer; 0 for none.
            seconds: how long the application had it.
            is_websocket: what `begin()` was told.
        """
        if is_websocket:
            self.open_websockets -= 1
            self.websockets[status] += 1
            return
        self.active -= 1
        self.answers[method if method in METHODS else OTHER, status] += 1
        self.durations[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds
