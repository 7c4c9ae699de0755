"""The options of `anyio-mio serve`, and the options that a worker gets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """Options for `anyio_mio.serve_listeners()`.

    Attributes:
        grace: seconds that handlers have to finish when the worker stops.
        max_connections: the most connections of one worker at once; None for no limit.
        accept_batch: connections accepted for each wake-up; 1 if workers share a socket.
    """

    grace: float = 10.0
    max_connections: int | None = None
    accept_batch: int | None = None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files of a certificate.

    Attributes:
        certificate: path of the certificate chain, PEM.
        key: path of the key; None if it is in the same file.
        password_file: path of a file that holds the key's pass phrase; None if it has none.
    """

    certificate: str
    key: str | None = None
    password_file: str | None = None


@dataclass(frozen=True, slots=True)
class Supervision:
    """When the supervisor replaces a worker.

    Attributes:
        start_timeout: seconds in which a worker must become ready.
        worker_timeout: seconds without a report after which a worker is replaced; 0 for never.
        recycle: limits by the name of a figure that workers report. A worker that reaches one is
            replaced.
        recycle_jitter: the largest fraction that is added to each limit at random.
    """

    start_timeout: float = 60.0
    worker_timeout: float = 30.0
    recycle: dict[str, int] = field(default_factory=dict)
    recycle_jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class Observation:
    """How a worker can be observed.

    Attributes:
        console: a directory in which each worker opens its console, ``"1"`` for the default one;
            None for no console.
        run_options: options of the worker's run: ``slow_step``, ``old_connection``, ``debug``.
        metrics: whether it collects metrics.
    """

    console: str | None = None
    run_options: dict[str, Any] = field(default_factory=dict)
    metrics: bool = False


@dataclass(frozen=True, slots=True)
class ApplicationOptions:
    """How the target is used, and how HTTP is served.

    Attributes:
        kind: whether the target is an ASGI application or a handler of streams; ``"auto"`` to find
            out by its arguments.
        is_factory: whether a call of the target, without arguments, makes the application.
        http: options for `anyio_mio.asgi.serve()`.
    """

    kind: Literal["auto", "asgi", "raw"] = "auto"
    is_factory: bool = False
    http: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configuration:
    """All options.

    Attributes:
        target: a built-in handler's name, or ``module:function``.
        serving: how connections are served.
        tls: the certificate; None for no TLS.
        supervision: when workers are replaced.
        application: what the target is, and how HTTP is served.
        observation: how workers can be observed.
        log_level: name of the level from which log records of the workers are kept.
        captures_output: True to log what workers print to standard output.
    """

    target: str
    serving: ServingOptions = ServingOptions()
    tls: TlsFiles | None = None
    supervision: Supervision = field(default_factory=Supervision)
    application: ApplicationOptions = field(default_factory=ApplicationOptions)
    observation: Observation = Observation()
    log_level: str = "warning"
    captures_output: bool = False


@dataclass(frozen=True, slots=True)
class Assignment:
    """The options of one worker.

    Attributes:
        worker: its number, from 1.
        configuration: the options.
        channel: descriptor of its end of the `Channel`.
        sockets: descriptors of the listening sockets.
    """

    worker: int
    configuration: Configuration
    channel: int
    sockets: tuple[int, ...]

    def dump(self) -> str:
        """Return it as one argument of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Assignment:
        """Return the assignment of an argument that `dump()` made."""
        fields = json.loads(text)
        options = fields["configuration"]
        configuration = Configuration(
            target=options["target"],
            serving=ServingOptions(**options["serving"]),
            tls=TlsFiles(**options["tls"]) if options["tls"] else None,
            supervision=Supervision(**options["supervision"]),
            application=ApplicationOptions(**options["application"]),
            observation=Observation(**options["observation"]),
            log_level=options["log_level"],
            captures_output=options["captures_output"],
        )
        return cls(fields["worker"], configuration, fields["channel"], tuple(fields["sockets"]))
