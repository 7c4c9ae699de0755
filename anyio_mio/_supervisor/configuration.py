"""What a worker is told: one JSON object on its command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Configuration:
    """The part of the command line that workers need.

    Attributes:
        target: a built-in handler's name, or ``module:function``.
        grace: seconds that handlers get when the worker stops.
        max_connections: the most connections of one worker at once; None for no limit.
        accept_batch: connections accepted for each wake-up; 1 where workers share a socket.
        tls_cert: path of the certificate chain; None for no TLS. ``tls_key`` likewise.
        reports: descriptor that takes the worker's reports.
        sockets: descriptors of the listening sockets.
        statistics_every: seconds between two reports of figures; 0 for none.
    """

    target: str
    grace: float
    max_connections: int | None
    accept_batch: int | None
    tls_cert: str | None
    tls_key: str | None
    reports: int = -1
    sockets: tuple[int, ...] = ()
    statistics_every: float = 0.0

    def dump(self) -> str:
        """As one argument of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Configuration:
        """The inverse of `dump()`."""
        fields = json.loads(text)
        fields["sockets"] = tuple(fields["sockets"])
        return cls(**fields)
