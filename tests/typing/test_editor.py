"""What an editor shows of the public API: completion, signatures, and texts under the pointer.

``|`` in a program is the cursor.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.typing.language_server import LanguageServer

pytestmark = pytest.mark.timeout(120)

HANDLER = """\
from anyio_mio.serving import SocketStream

async def handle(stream: SocketStream) -> None:
    {}
"""
MAIN = """\
import anyio_mio

async def handle(stream): ...

async def main():
    await {}
"""
APPLICATION = """\
import anyio_mio.asgi

async def app(scope, receive, send): ...

anyio_mio.asgi.run(app, {})
"""


@pytest.fixture(scope="module")
def editor(pyright: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    with LanguageServer(tmp_path_factory.mktemp("user")) as server:
        yield server


def test_the_package_completes_to_its_api_and_nothing_else(editor: LanguageServer) -> None:
    names = set(editor.complete("import anyio_mio\nanyio_mio.|"))

    assert {each for each in names if not each.startswith("_")} == {
        *("RunOptions", "run", "serve_listeners", "serve_tcp", "serve_unix"),
    }


@pytest.mark.parametrize("name", ["receive", "send", "send_eof", "aclose", "extra"])
def test_a_handlers_stream_completes_to_its_methods(editor: LanguageServer, name: str) -> None:
    assert name in editor.complete(HANDLER.format("stream.|"))


@pytest.mark.parametrize(
    "call, option",
    [
        ("anyio_mio.serve_tcp(handle, 8000, max|)", "max_connections="),
        ("anyio_mio.serve_tcp(handle, 8000, gr|)", "grace="),
        ("anyio_mio.serve_unix(handle, 'path', sig|)", "signals="),
        ("anyio_mio.serve_listeners(handle, [], que|)", "queued="),
    ],
)
def test_the_options_of_a_server_are_completed(
    editor: LanguageServer, call: str, option: str
) -> None:
    assert option in editor.complete(MAIN.format(call))


@pytest.mark.parametrize("option", ["host=", "keep_alive=", "ws_max_size=", "max_connections="])
def test_the_options_for_an_application_are_completed(editor: LanguageServer, option: str) -> None:
    assert option in editor.complete(APPLICATION.format("|"))


def test_a_call_shows_each_option_with_its_type(editor: LanguageServer) -> None:
    signature = editor.signature(MAIN.format("anyio_mio.serve_tcp(|)"))

    assert "max_connections: int | None" in signature
    assert "handler: (SocketStream) -> Awaitable[object]" in signature


@pytest.mark.parametrize(
    "text, shown",
    [
        ("import anyio_mio\nanyio_mio.r|un(main)", "Args:"),
        (MAIN.format("anyio_mio.serve|_tcp(handle, 8000)"), "port: the port; 0 lets the system"),
        (HANDLER.format("await stream.rec|eive()"), "EndOfStream: the peer has shut"),
        (HANDLER.format("await stream.se|nd(b'')"), "Cancellation: a part may have been sent"),
        (APPLICATION.replace(".run(", ".r|un(").format(""), "SIGINT and SIGTERM"),
        ("import anyio_mio.trio\nanyio_mio.trio.open_tcp_str|eam('h', 1)", "Trio"),
        ("from anyio_mio.poll import Po|ll", "events are hints"),
        ("from anyio_mio.asyncio import run_in_|task", "the scope around the function|a scope"),
        ("from anyio_mio.serving import Serve|Options", "max_connections"),
    ],
)
def test_the_text_under_the_pointer_is_the_documentation(
    editor: LanguageServer, text: str, shown: str
) -> None:
    hover = " ".join(editor.hover(text).split())

    assert any(each in hover for each in shown.split("|")), hover
