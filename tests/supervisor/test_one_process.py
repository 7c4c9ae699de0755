"""Serving without workers: in threads, and on Windows."""

from __future__ import annotations

import signal

import anyio
import pytest
from click.testing import CliRunner

import anyio_mio
from anyio_mio._supervisor.binding import BindError
from anyio_mio._supervisor.handlers import echo
from anyio_mio._supervisor.one_process import Choices, Place, parse_place, serve
from anyio_mio.cli.group import group
from anyio_mio.cli.serve_here import serve_on_windows
from anyio_mio.serving import threads as threads_module


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


def served(choices: Choices, places: int = 1) -> Notes:
    """Serve, talk to it, and stop it by a signal."""
    notes = Notes()

    async def main() -> None:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                here = [Place("127.0.0.1", 0)] * places
                tasks.start_soon(serve, echo, here, choices, notes)
                await notes.bound.wait()
                async with await anyio.connect_tcp("127.0.0.1", notes.port) as client:
                    await client.send(b"x")
                    assert await client.receive() == b"x"
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
    ],
)
def test_the_command_of_windows_refuses_in_words(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(serve_on_windows, arguments)

    assert result.exit_code != 0
    assert words in result.output
