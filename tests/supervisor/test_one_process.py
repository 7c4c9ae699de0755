"""Serving without workers: in threads, and on Windows."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream
from click.testing import CliRunner

import anyio_mio
from anyio_mio._supervisor.application import Target
from anyio_mio._supervisor.binding import BindError
from anyio_mio._supervisor.certificate import CertificateWatch, load_context
from anyio_mio._supervisor.configuration import TlsFiles
from anyio_mio._supervisor.handlers import echo
from anyio_mio._supervisor.one_process import Choices, Place, parse_place, serve
from anyio_mio.cli.group import group
from anyio_mio.cli.serve_here import serve_on_windows
from anyio_mio.serving import threads as threads_module
from tests.shared.certificates import client_context, renew_files, write_certificate

ECHO = Target(echo, "stream handler", is_application=False)

Talk = Callable[[SocketStream], Awaitable[None]]


class Notes(list[str]):
    """What the server logged."""

    def __init__(self) -> None:
        self.bound = anyio.Event()
        self.port = 0

    def __call__(self, event: str, /, **fields: object) -> None:
        self.append(event)
        if event == "serving":
            self.port = parse_place(str(fields["address"])).port
            self.bound.set()


async def talk_to_echo(client: SocketStream) -> None:
    await client.send(b"x")
    assert await client.receive() == b"x"


async def ask_for_a_page(client: SocketStream) -> None:
    await client.send(b"GET /hello HTTP/1.0\r\n\r\n")
    assert (await client.receive()).startswith(b"HTTP/1.1 200 OK\r\n")


def served(
    choices: Choices, places: int = 1, target: Target = ECHO, talk: Talk = talk_to_echo
) -> Notes:
    """Serve, talk to it, and stop it by a signal."""
    notes = Notes()

    async def main() -> None:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                here = [Place("127.0.0.1", 0)] * places
                tasks.start_soon(serve, target, here, choices, notes)
                await notes.bound.wait()
                async with await anyio.connect_tcp("127.0.0.1", notes.port) as client:
                    await talk(client)
                signal.raise_signal(signal.SIGINT)

    anyio_mio.run(main)
    return notes


def test_a_signal_stops_it_in_good_order() -> None:
    assert served(Choices()) == ["serving", "stopping", "stopped"]


def test_every_place_is_served() -> None:
    assert served(Choices(), places=2).count("stopped") == 2


def test_threads_serve_where_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "gil_is_enabled", lambda: False)

    assert served(Choices(threads=2)) == ["serving", "stopping", "stopped"]


@pytest.mark.skipif(sys.platform == "win32", reason="no signal asks for it")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR2"])
def test_a_certificate_is_renewed_on_a_signal_and_no_connection_ends(
    name: str, tmp_path: Path
) -> None:
    paths = write_certificate(tmp_path)
    files = TlsFiles(paths.certificate, paths.key)
    context = load_context(files)
    choices = Choices(tls=context, certificate=CertificateWatch(context, files))
    notes = Notes()

    async def connect() -> TLSStream:
        return await anyio.connect_tcp(
            "127.0.0.1", notes.port, ssl_context=client_context(), tls_standard_compatible=False
        )

    async def certificate(client: TLSStream) -> bytes | None:
        return client.extra(TLSAttribute.peer_certificate_binary)

    async def main() -> tuple[bytes | None, bytes | None]:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve, ECHO, [Place("127.0.0.1", 0)], choices, notes)
                await notes.bound.wait()
                async with await connect() as old:
                    renew_files(paths)
                    signal.raise_signal(getattr(signal, name))
                    while "certificate renewed" not in notes:
                        await anyio.sleep(0.01)
                    async with await connect() as new:
                        found = await certificate(old), await certificate(new)
                    await old.send(b"x")
                    assert await old.receive() == b"x"
                await anyio.Path(paths.key).write_text("nonsense")
                signal.raise_signal(getattr(signal, name))
                while "certificate not renewed, the old one is used" not in notes:
                    await anyio.sleep(0.01)
                async with await connect() as last:
                    assert await certificate(last) == found[1]
                signal.raise_signal(signal.SIGINT)
        return found

    before, after = anyio_mio.run(main)

    assert before != after


class Application:
    """An application that notes its lifespans, and in which threads it answers."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.threads: set[int] = set()

    def target(self) -> Target:
        return Target(self, "ASGI application", is_application=True)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                self.events.append(message["type"])
                await send({"type": message["type"] + ".complete"})
        else:
            self.threads.add(threading.get_ident())
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"hello"})


def test_an_application_starts_once_for_all_places() -> None:
    app = Application()
    notes = served(Choices(http={"lifespan": "on"}), 2, app.target(), ask_for_a_page)
    assert notes == ["serving", "serving", "stopping", "stopped"]
    assert app.events == ["lifespan.startup", "lifespan.shutdown"]


def test_an_application_has_a_lifespan_in_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "gil_is_enabled", lambda: False)
    app = Application()

    async def ask_often(client: SocketStream) -> None:
        await ask_for_a_page(client)
        address = client.extra(SocketAttribute.remote_address)
        for _ in range(60):
            async with await anyio.connect_tcp(*address) as other:
                await ask_for_a_page(other)

    notes = served(Choices(threads=3), 1, app.target(), ask_often)
    assert notes == ["serving", "stopping", "stopped"]
    assert sorted(app.events) == ["lifespan.shutdown"] * 3 + ["lifespan.startup"] * 3
    assert 1 < len(app.threads) <= 3


@pytest.mark.parametrize("number", [1, 2])
def test_an_application_that_fails_to_start_ends_the_server(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(threads_module, "gil_is_enabled", lambda: False)
    line = ["tests.asgi.command_apps:fails_to_start", "--bind", "127.0.0.1:0"]
    if number == 1:
        result = CliRunner().invoke(serve_on_windows, line)
    else:
        result = CliRunner().invoke(group, ["serve", *line, "--threads", str(number)])
    assert result.exit_code == 1
    assert "fails_to_start failed to start: no database" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "text, place",
    [
        ("127.0.0.1:80", Place("127.0.0.1", 80)),
        ("[::1]:80", Place("::1", 80)),
        (":80", Place("0.0.0.0", 80)),
    ],
)
def test_a_place_is_a_host_and_a_port(text: str, place: Place) -> None:
    assert parse_place(text) == place
    assert parse_place(str(place)) == place


@pytest.mark.parametrize("text", ["unix:/run/app.sock", "80", "host:99999"])
def test_what_is_no_place_is_refused_with_the_right_line(text: str) -> None:
    with pytest.raises(BindError, match="right: 127"):
        parse_place(text)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["echo", "--threads", "2"], "free-threaded build"),
        (["echo", "--threads", "2", "--workers", "2"], "without workers"),
        (["echo", "--threads", "2", "--reload"], "--reload needs workers"),
        (["echo", "--threads", "2", "--max-requests", "9"], "--max-requests needs workers"),
        (["echo", "--threads", "2", "--recycle-memory", "9"], "--recycle-memory needs workers"),
    ],
)
def test_the_command_says_what_threads_need(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setattr(threads_module, "gil_is_enabled", lambda: True)

    result = CliRunner().invoke(group, ["serve", *arguments])

    assert result.exit_code == 2
    assert words in result.output
    assert "right:" in result.output


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["ecko"], "neither a built-in handler"),
        (["echo", "--bind", "unix:path"], "cannot be served by one process"),
        (["echo", "--bind", "192.0.2.1:1"], "cannot serve"),
        (["echo", "--reload"], "--reload needs workers"),
        (["tests.asgi.command_apps:text"], "which cannot be called"),
        (["tests.asgi.command_apps:two"], "cannot be called with a stream"),
    ],
)
def test_the_command_of_windows_refuses_in_words(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(serve_on_windows, arguments)

    assert result.exit_code != 0
    assert words in result.output


def test_the_command_of_windows_says_what_to_do_about_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(serve_on_windows, ["echo", "--bind", f"127.0.0.1:{port}"])

    assert result.exit_code == 1
    assert "in use" in result.output
    assert "right: --bind with another port" in result.output
