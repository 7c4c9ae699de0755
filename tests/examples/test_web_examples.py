"""The examples that are web applications do what they say, in at most sixty lines each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from websockets.sync.client import connect

import anyio_mio
from tests.asgi.served import serving
from tests.asgi.test_requests import wait_for
from tests.examples.conftest import EXAMPLES, Load

NAMES = ["fastapi_app", "file_download", "mcp_server", "websocket_chat"]
LISTENING = "0A"
GUIDE = EXAMPLES.parent / "docs" / "guides" / "serving-asgi.md"


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_says_how_to_run_it(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text()

    assert len(text.splitlines()) <= 60
    assert f"python examples/{name}.py" in text.split('"""')[1]
    assert f"examples/{name}.py" in GUIDE.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_as_it_says_until_it_is_stopped(name: str, tmp_path: Path) -> None:
    source = (EXAMPLES / f"{name}.py").read_text().replace("port=8000", "port=0, lifespan='auto'")
    (tmp_path / "example.py").write_text(source)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "example.py", "."]
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            wait_for(lambda: listens(process.pid), 15)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def listens(pid: int) -> bool:
    """Whether a process has a listening socket."""
    folder = Path(f"/proc/{pid}/fd")
    links = {os.readlink(path) for path in folder.iterdir() if path.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[3] == LISTENING and f"socket:[{row[9]}]" in links for row in rows)


def client_of(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)


def test_fastapi_answers_streams_and_works_after_the_answer(example: Load) -> None:
    module = example("fastapi_app")
    with serving(module.app) as served, client_of(served.port) as client:
        assert client.get("/items/3").json() == {"number": 3}
        with client.stream("GET", "/count") as answer:
            began = time.monotonic()
            assert list(answer.iter_lines()) == ["0", "1", "2"]
            assert time.monotonic() - began > 0.1  # they come one by one
        assert client.post("/mails", params={"to": "ada"}).status_code == 202
        wait_for(lambda: module.sent == ["ada"])


def test_files_come_whole_and_in_parts(example: Load, tmp_path: Path) -> None:
    content = bytes(range(256)) * 2000
    (tmp_path / "a.bin").write_bytes(content)
    (tmp_path / "folder").mkdir()
    app = example("file_download").make_app(tmp_path)
    with serving(app) as served, client_of(served.port) as client:
        assert client.get("/").text == "a.bin\n"
        answer = client.get("/a.bin")
        assert answer.content == content
        part = client.get("/a.bin", headers={"range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, content[1000:2000])
        unchanged = client.get("/a.bin", headers={"if-none-match": answer.headers["etag"]})
        assert unchanged.status_code in (200, 304)
        assert [client.get(f"/{name}").status_code for name in ("b.bin", "folder")] == [404, 404]


def test_the_mcp_server_adds_and_tells_how_far_it_is(example: Load) -> None:
    told: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async def main(url: str) -> list[str]:
        async with (
            streamable_http_client(url) as streams,
            ClientSession(streams[0], streams[1]) as session,
        ):
            await session.initialize()
            sums = await session.call_tool("add", {"a": 2, "b": 3})
            counted = await session.call_tool("count", {"to": 4}, progress_callback=note)
            contents: list[Any] = [*sums.content, *counted.content]
            return [each.text for each in contents]

    with serving(example("mcp_server").app) as served:
        url = f"http://127.0.0.1:{served.port}/mcp"
        assert anyio_mio.run(main, url) == ["5", "counted to 4"]
    assert told == [1, 2, 3, 4]


def test_what_one_says_in_the_chat_all_others_hear(example: Load) -> None:
    module = example("websocket_chat")
    with serving(module.app) as served, ExitStack() as stack:
        url = f"ws://127.0.0.1:{served.port}/"
        one, two, three = (stack.enter_context(connect(url, proxy=None)) for _ in range(3))
        wait_for(lambda: len(module.others) == 3)
        one.send("hello")
        assert [each.recv(5) for each in (two, three)] == ["hello", "hello"]
        two.close()
        wait_for(lambda: len(module.others) == 2)
        three.send("bye")
        assert one.recv(5) == "bye"
