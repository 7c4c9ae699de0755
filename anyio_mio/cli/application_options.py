"""The options of `anyio-mio serve` for applications: what the target is, and how HTTP is served."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from anyio_mio._supervisor.configuration import ApplicationOptions
from anyio_mio.cli.numbers import Count, Number
from anyio_mio.cli.options import READABLE_FILE, add_options

SECONDS: Final = Number(0.01, 86400)
COUNT: Final = Count(1)
BYTES: Final = Count(1, unit="BYTES")
FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)

HTTP: Final = {
    "root_path": click.option(
        "--root-path", default="", metavar="PATH", help="Path under which a proxy mounts it."
    ),
    "keep_alive": click.option(
        "--keep-alive",
        type=SECONDS,
        default=75.0,
        help="Seconds that a connection may wait for its next request.",
    ),
    "head_timeout": click.option(
        "--head-timeout", type=SECONDS, default=30.0, help="Seconds for the head of a request."
    ),
    "body_timeout": click.option(
        "--body-timeout",
        type=SECONDS,
        default=60.0,
        help="Seconds that a client may pause within a body.",
    ),
    "send_timeout": click.option(
        "--send-timeout",
        type=SECONDS,
        default=60.0,
        help="Seconds that a client may not read its answer.",
    ),
    "max_head_size": click.option(
        "--max-head-size",
        type=BYTES,
        default=65536,
        help="Most bytes of a request's head; more: 431.",
    ),
    "max_header_count": click.option(
        "--max-header-count",
        type=COUNT,
        default=128,
        help="Most header fields of a request; more: 431.",
    ),
    "max_body_size": click.option(
        "--max-body-size",
        type=BYTES,
        show_default="no limit",
        help="Most bytes of a request's body; more: 413.",
    ),
    "limit_concurrency": click.option(
        "--limit-concurrency",
        type=COUNT,
        show_default="no limit",
        help="Most requests of a worker at once; more: 503.",
    ),
    "lifespan": click.option(
        "--lifespan",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        help="Send the application lifespan events; auto: if it supports them.",
    ),
    "proxy_headers": click.option(
        "--proxy-headers/--no-proxy-headers",
        default=True,
        help="Trust X-Forwarded-* and Forwarded of a trusted proxy.",
    ),
    "proxy_protocol": click.option(
        "--proxy-protocol", is_flag=True, help="Read a PROXY header from each trusted peer."
    ),
    "trusted": click.option(
        "--trusted",
        multiple=True,
        metavar="ADDRESS",
        show_default="127.0.0.1 and ::1",
        help="A proxy's address, a network, or * for all. Repeatable.",
    ),
    "headers": click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="NAME:VALUE",
        help="A header field for each answer. Repeatable.",
    ),
    "date_header": click.option(
        "--date-header/--no-date-header", default=True, help="Send the field date."
    ),
    "server_header": click.option(
        "--server-header/--no-server-header", default=True, help="Send the field server."
    ),
    "access_log": click.option(
        "--access-log/--no-access-log",
        default=False,
        help="Write a line for each answer to standard output.",
    ),
    "ws_max_size": click.option(
        "--ws-max-size",
        type=BYTES,
        default=16 * 1024 * 1024,
        help="Most bytes of a WebSocket message; more: close code 1009.",
    ),
    "ws_ping_interval": click.option(
        "--ws-ping-interval",
        type=SECONDS,
        default=20.0,
        help="Seconds between two pings to a WebSocket.",
    ),
    "ws_ping_timeout": click.option(
        "--ws-ping-timeout", type=SECONDS, default=20.0, help="Seconds to wait for a pong."
    ),
    "ws_compression": click.option(
        "--ws-compression/--no-ws-compression",
        default=True,
        help="Compress WebSocket messages if the client offers it.",
    ),
}
"""Options that `anyio_mio.asgi.serve()` takes by the same names, with the same defaults."""

OTHERS: Final = (
    click.option("--asgi", "kind", flag_value="asgi", help="TARGET is an ASGI application."),
    click.option("--raw", "kind", flag_value="raw", help="TARGET is a handler of streams."),
    click.option(
        "--factory", is_flag=True, help="TARGET is a function that returns the application."
    ),
    click.option(
        "--app-dir",
        type=FOLDER,
        show_default="the current folder",
        help="Folder of TARGET's module, and the workers' current folder.",
    ),
    click.option(
        "--env-file",
        type=READABLE_FILE,
        help="File of environment variables, a line each: NAME=VALUE.",
    ),
    click.option(
        "--reload", is_flag=True, help="For development: replace the workers when a file changes."
    ),
    click.option(
        "--max-requests",
        type=COUNT,
        show_default="no limit",
        help="Replace a worker after this many requests.",
    ),
)


application_options = add_options(*OTHERS, *HTTP.values())
"""Adds the options to a command; they come in its keyword arguments."""


def take_application(
    context: click.Context, given: dict[str, Any], log_format: str
) -> ApplicationOptions:
    """Take the options for applications out of a command's arguments.

    Those that the command line does not have are left to `anyio_mio.asgi`, whose defaults they are.

    Raises:
        click.UsageError: one of them is malformed.
    """
    http = {name: given.pop(name) for name in HTTP}
    http = {name: http[name] for name in HTTP if is_given(context, name)}
    if "headers" in http:
        http["headers"] = [split_header(text) for text in http["headers"]]
    if http.pop("access_log", False):
        http["access_log"] = "json" if log_format == "json" else "plain"
    prepare_surroundings(given.pop("app_dir"), given.pop("env_file"))
    return ApplicationOptions(given.pop("kind") or "auto", given.pop("factory"), http)


def is_given(context: click.Context, name: str) -> bool:
    """Return whether the user has set an option."""
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


def split_header(text: str) -> list[str]:
    """Return a name and a value.

    Raises:
        click.UsageError: they are not both there, or would be more than one line.
    """
    name, colon, value = text.partition(":")
    if not name or not colon or any(c in text for c in "\r\n\0"):
        raise click.UsageError(
            f"--header {text!r} is not a field\n  right: --header 'x-name: value'"
        )
    return [name, value.strip()]


def prepare_surroundings(app_dir: Path | None, env_file: Path | None) -> None:
    """Set what workers inherit: the current folder, and variables.

    Raises:
        click.UsageError: a line of the file is no variable.
    """
    if env_file is not None:
        for number, line in enumerate(env_file.read_text().splitlines(), 1):
            read_variable(line.strip(), f"{env_file}:{number}")
    if app_dir is not None:
        folder = os.fspath(app_dir.resolve())
        os.chdir(folder)
        sys.path[:] = [folder, *(each for each in sys.path if each not in ("", folder))]


def read_variable(line: str, where: str) -> None:
    """Set the variable of one line; a variable that is set already stays."""
    if not line or line.startswith("#"):
        return
    name, equals, value = line.removeprefix("export ").partition("=")
    if not equals or not name.strip():
        raise click.UsageError(f"{where}: {line!r} is no variable\n  right: NAME=VALUE")
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    os.environ.setdefault(name.strip(), value)
