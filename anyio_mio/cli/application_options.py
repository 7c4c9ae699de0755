"""The options of `anyio-mio serve` for applications: what the target is, and how HTTP is served."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from anyio_mio._supervisor.configuration import ApplicationOptions

F = TypeVar("F", bound=Callable[..., Any])

SECONDS: Final = click.FloatRange(0.01, 86400)
COUNT: Final = click.IntRange(1)
READABLE_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)

HTTP: Final = {
    "root_path": click.option("--root-path", help="Path below which a proxy mounts it."),
    "keep_alive": click.option("--keep-alive", type=SECONDS, help="Wait for the next request."),
    "head_timeout": click.option("--head-timeout", type=SECONDS, help="Time for a head."),
    "body_timeout": click.option("--body-timeout", type=SECONDS, help="Pause within a body."),
    "send_timeout": click.option("--send-timeout", type=SECONDS, help="Client that reads nothing."),
    "max_head_size": click.option("--max-head-size", type=COUNT, help="Bytes; else 431."),
    "max_header_count": click.option("--max-header-count", type=COUNT, help="Fields; else 431."),
    "max_body_size": click.option("--max-body-size", type=COUNT, help="Bytes; else 413."),
    "limit_concurrency": click.option(
        "--limit-concurrency", type=COUNT, help="Requests of a worker at once; else 503."
    ),
    "lifespan": click.option("--lifespan", type=click.Choice(["auto", "on", "off"])),
    "proxy_headers": click.option(
        "--proxy-headers/--no-proxy-headers", default=None, help="Believe trusted proxies' fields."
    ),
    "proxy_protocol": click.option(
        "--proxy-protocol", is_flag=True, default=None, help="Read PROXY headers of trusted peers."
    ),
    "trusted": click.option(
        "--trusted", multiple=True, metavar="ADDRESS", help="Proxy, network, or *; repeatable."
    ),
    "headers": click.option(
        "--header", "headers", multiple=True, metavar="NAME:VALUE", help="For each answer."
    ),
    "date_header": click.option("--date-header/--no-date-header", default=None),
    "server_header": click.option("--server-header/--no-server-header", default=None),
    "access_log": click.option(
        "--access-log/--no-access-log", default=None, help="A line for each answer, on stdout."
    ),
    "ws_max_size": click.option("--ws-max-size", type=COUNT, help="Bytes of a message."),
    "ws_ping_interval": click.option("--ws-ping-interval", type=SECONDS, help="Seconds."),
    "ws_ping_timeout": click.option("--ws-ping-timeout", type=SECONDS, help="Seconds."),
    "ws_compression": click.option("--ws-compression/--no-ws-compression", default=None),
}
"""Options that `anyio_mio.asgi.serve()` takes by the same names."""

OTHERS: Final = (
    click.option("--asgi", "kind", flag_value="asgi", help="TARGET is an ASGI application."),
    click.option("--raw", "kind", flag_value="raw", help="TARGET is a handler of streams."),
    click.option("--factory", is_flag=True, help="TARGET makes the application."),
    click.option("--app-dir", type=FOLDER, help="Folder of TARGET's module, instead of this one."),
    click.option("--env-file", type=READABLE_FILE, help="Variables for the workers, NAME=VALUE."),
    click.option("--reload", is_flag=True, help="For development: reload when a file changes."),
    click.option("--max-requests", type=COUNT, help="Replace a worker after so many requests."),
)


def application_options(command: F) -> F:
    """Add the options to a command; they come in its keyword arguments."""
    for option in reversed([*OTHERS, *HTTP.values()]):
        command = option(command)
    return command


def take_application(given: dict[str, Any], log_format: str) -> ApplicationOptions:
    """Take the options for applications out of a command's arguments.

    Raises:
        click.UsageError: one of them is malformed.
    """
    http = {name: given.pop(name) for name in HTTP}
    http = {name: value for name, value in http.items() if value not in (None, ())}
    if "headers" in http:
        http["headers"] = [split_header(text) for text in http["headers"]]
    if http.pop("access_log", False):
        http["access_log"] = "json" if log_format == "json" else "plain"
    prepare_surroundings(given.pop("app_dir"), given.pop("env_file"))
    return ApplicationOptions(given.pop("kind") or "auto", given.pop("factory"), http)


def split_header(text: str) -> list[str]:
    """Return a name and a value.

    Raises:
        click.UsageError: they are not both there, or would be more than one line.
    """
    name, colon, value = text.partition(":")
    if not name or not colon or any(c in text for c in "\r\n\0"):
        raise click.UsageError(f"--header {text!r} is no field\n  right: --header 'x-name: value'")
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
