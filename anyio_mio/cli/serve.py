"""The command `anyio-mio serve`."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import click

import anyio_mio
from anyio_mio._supervisor import binding, live
from anyio_mio._supervisor.configuration import Configuration
from anyio_mio._supervisor.log import JsonLog, PlainLog
from anyio_mio._supervisor.supervisor import Supervisor
from anyio_mio._supervisor.target import TargetError, load_handler

READABLE_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


@click.command()
@click.argument("target")
@click.option("--bind", "binds", multiple=True, metavar="ADDRESS", help="HOST:PORT or unix:PATH.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--backlog", type=click.IntRange(1, 65535), default=4096, show_default=True)
@click.option("--max-connections", type=click.IntRange(1), help="Of each worker at once.")
@click.option("--grace", type=click.FloatRange(0, 3600), default=10.0, show_default=True)
@click.option("--tls-cert", type=READABLE_FILE, help="Certificate chain, PEM.")
@click.option("--tls-key", type=READABLE_FILE, help="Its key, if it is in another file.")
@click.option("--share", is_flag=True, help="All workers accept from one socket.")
@click.option("--log-format", type=click.Choice(["plain", "json"]), default="plain")
@click.option("--live/--no-live", "show_live", default=None, help="Live figures; on in a terminal.")
@click.pass_context
def serve(  # noqa: PLR0913 - one for each option of the command line
    context: click.Context,
    target: str,
    binds: tuple[str, ...],
    workers: int,
    backlog: int,
    max_connections: int | None,
    grace: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    share: bool,
    log_format: str,
    show_live: bool | None,
) -> None:
    """Serve connections with TARGET: echo, discard, http-hello, or module:async_handler.

    Each worker is a process. SIGTERM or Ctrl-C stops in good order, a second one at once; SIGHUP
    replaces the workers one by one, and no client is refused. Sockets of a service manager
    (LISTEN_FDS) are served besides those of --bind.
    """
    if tls_key is not None and tls_cert is None:
        raise click.UsageError(
            "--tls-key needs --tls-cert\n  right: --tls-cert c.pem --tls-key k.pem"
        )
    check_target(target)
    adopted = binding.adopted()
    addresses = parse_addresses(binds, adopted)
    log = JsonLog() if log_format == "json" else PlainLog()
    with contextlib.ExitStack() as at_end:
        slots, shared = make_slots(addresses, adopted, workers, backlog, share, at_end)
        configuration = Configuration(
            target=target,
            grace=grace,
            max_connections=max_connections,
            accept_batch=1 if shared and workers > 1 else None,
            tls_cert=os.fspath(tls_cert) if tls_cert else None,
            tls_key=os.fspath(tls_key) if tls_key else None,
            statistics_every=live.REFRESH_SECONDS if live.wanted(show_live) else 0.0,
        )
        for text in served(slots):
            log("serving", address=text, workers=workers, target=target)
        supervisor = Supervisor(configuration, slots, log)
        succeeded = anyio_mio.run(live.run, supervisor, live.wanted(show_live))
    context.exit(0 if succeeded else 1)


def check_target(target: str) -> None:
    """Refuse what no worker could serve; a module of the user's is imported by the workers."""
    if ":" not in target:
        try:
            load_handler(target)
        except TargetError as error:
            raise click.UsageError(str(error)) from None


def parse_addresses(
    binds: tuple[str, ...], adopted: list[socket.socket]
) -> list[binding.TcpAddress | binding.UnixAddress]:
    """The addresses to bind; 127.0.0.1:8000 if nothing at all is given."""
    if not binds and not adopted:
        binds = ("127.0.0.1:8000",)
    try:
        return [binding.parse(text) for text in binds]
    except binding.BindError as error:
        raise click.UsageError(str(error)) from None


def make_slots(
    addresses: list[binding.TcpAddress | binding.UnixAddress],
    adopted: list[socket.socket],
    workers: int,
    backlog: int,
    share: bool,
    at_end: contextlib.ExitStack,
) -> tuple[list[list[socket.socket]], bool]:
    """The sockets of each worker, and whether any of them is shared between workers.

    ``at_end`` closes them and removes the paths that were made: those, and no other server's.
    """
    slots: list[list[socket.socket]] = [list(adopted) for _ in range(workers)]
    for sock in adopted:
        at_end.callback(sock.close)
    shared = bool(adopted)
    for address in addresses:
        own = workers > 1 and not share and isinstance(address, binding.TcpAddress)
        shared = shared or not own
        if own:
            check_free(address)
        first = bind(address, backlog, reuse_port=own)
        at_end.callback(address.clean_up)
        for number, slot in enumerate(slots):
            slot.append(another(first, backlog) if own and number else first)
            at_end.callback(slot[-1].close)
    return slots, shared


def bind(
    address: binding.TcpAddress | binding.UnixAddress, backlog: int | None, *, reuse_port: bool
) -> socket.socket:
    """Bind an address, or say why not."""
    try:
        return address.bind(backlog=backlog, reuse_port=reuse_port)
    except OSError as error:
        reason = error.strerror or error  # a path that is too long has no number, hence no text
        raise click.ClickException(f"cannot listen on {address}: {reason}") from None


def check_free(address: binding.TcpAddress | binding.UnixAddress) -> None:
    """Refuse a port that somebody else serves.

    SO_REUSEPORT alone would let two servers share it unawares, each with a part of the clients.
    """
    bind(address, None, reuse_port=False).close()


def another(first: socket.socket, backlog: int) -> socket.socket:
    """One more SO_REUSEPORT socket on the port that the first one got."""
    host, port = first.getsockname()[:2]
    return bind(binding.TcpAddress(host, port), backlog, reuse_port=True)


def served(slots: list[list[socket.socket]]) -> list[str]:
    """The addresses as they turned out, each once."""
    names = []
    for sock in slots[0]:
        name = sock.getsockname()
        if sock.family == socket.AF_UNIX:
            names.append(f"unix:{name}")
        else:
            names.append(str(binding.TcpAddress(*name[:2])))
    return names
