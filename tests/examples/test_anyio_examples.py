"""The examples that are AnyIO programs do what they say, in at most sixty lines each."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

import anyio_mio.asgi
from tests.examples.conftest import EXAMPLES, Load
from tests.shared.certificates import client_context, write_certificate
from tests.shared.ports import reserved_port

pytestmark = pytest.mark.anyio

SECONDS = 15

NAMES = [
    "accept_storm",
    "chat",
    "echo",
    "http_client",
    "opentelemetry_app",
    "processes",
    "redis_client",
    "starlette_app",
    "tls_echo",
    "udp_echo",
]


@asynccontextmanager
async def serving(main: Any, *arguments: Any) -> AsyncIterator[int]:
    """Runs an example that serves until it is told to stop; yields its port."""
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            [listener] = await group.start(main, *arguments, 0)
            yield listener.extra(SocketAttribute.local_port)
            group.cancel_scope.cancel()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[SocketStream]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield stream


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_says_how_to_run_it(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text()

    assert len(text.splitlines()) <= 60
    assert f"python examples/{name}.py" in text.split('"""')[1]


async def test_echo_sends_back_what_it_is_sent(example: Load) -> None:
    async with serving(example("echo").main) as port, connected(port) as stream:
        await stream.send(b"hello")
        await stream.send_eof()
        received = b"".join([part async for part in stream])

    assert received == b"hello"


async def test_what_one_says_in_the_chat_all_others_hear(example: Load) -> None:
    chat = example("chat")
    async with (
        serving(chat.main) as port,
        connected(port) as one,
        connected(port) as two,
        connected(port) as three,
    ):
        while len(chat.clients) < 3:
            await anyio.sleep(0.01)
        await one.send(b"hello\nworld\n")
        heard = [
            await BufferedByteReceiveStream(each).receive_exactly(len(b"hello\nworld\n"))
            for each in (two, three)
        ]

    assert heard == [b"hello\nworld\n"] * 2
    assert not chat.clients


async def test_a_client_that_does_not_listen_is_hung_up_on_and_the_chat_goes_on(
    example: Load,
) -> None:
    chat = example("chat")
    line = b"x" * 4000 + b"\n"
    heard = 0
    async with (
        serving(chat.main) as port,
        connected(port) as speaker,
        connected(port) as listener,
        connected(port),  # who does not listen
    ):
        while len(chat.clients) < 3:
            await anyio.sleep(0.01)
        answers = BufferedByteReceiveStream(listener)
        while len(chat.clients) > 2:
            await speaker.send(line)
            heard += await answers.receive_exactly(len(line)) == line
        await speaker.send(b"the end\n")
        last = await answers.receive_until(b"\n", 100)

    assert heard > 0
    assert last == b"the end"


async def test_one_wakeup_of_the_storm_accepts_many(example: Load) -> None:
    with anyio.fail_after(SECONDS):
        served, accepts_per_wakeup = await example("accept_storm").main(100)

    assert served == 100
    assert max(accepts_per_wakeup) > 1


async def test_the_http_client_fetches_twenty_pages(example: Load) -> None:
    pytest.importorskip("httpx", reason="httpx is not installed")

    with anyio.fail_after(SECONDS):
        lengths = await example("http_client").main()

    assert list(lengths.values()) == [6] * 20


async def test_processes_end_by_themselves_or_by_the_limit(example: Load) -> None:
    with anyio.fail_after(SECONDS):
        results = await example("processes").main()

    assert results == {
        "short": "3 lines, ended with 0",
        "talkative": "1000 lines, ended with 0",
        "endless": "5 lines, ran out of time",
        "tr": "AND ONE THAT ANSWERS",
    }


async def test_udp_questions_are_asked_again_until_they_are_answered(example: Load) -> None:
    with anyio.fail_after(SECONDS):
        attempts = await example("udp_echo").main(3)

    assert len(attempts) == 3
    assert max(attempts) > 1


async def test_tls_echo_speaks_tls(example: Load, tmp_path: Path) -> None:
    files = write_certificate(tmp_path)

    async with serving(example("tls_echo").main, *files) as port:
        stream = await anyio.connect_tcp(
            "127.0.0.1", port, ssl_context=client_context(), tls_hostname="127.0.0.1"
        )
        async with stream:  # raises if the server does not say that this is the end
            await stream.send(b"hello")
            received = await stream.receive()

    assert isinstance(stream, TLSStream)
    assert received == b"hello"


async def test_spans_of_tasks_and_threads_are_children_of_the_requests(example: Load) -> None:
    pytest.importorskip("opentelemetry.instrumentation.starlette")
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    app = example("opentelemetry_app").make_app(exporter)
    async with anyio.create_task_group() as group:
        [listener] = await group.start(partial(anyio_mio.asgi.serve, app, port=0))
        port = listener.extra(SocketAttribute.local_port)
        async with connected(port) as stream:
            await stream.send(b"GET /books HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")
        spans: dict[str, Any] = {}
        with anyio.fail_after(SECONDS):
            while "GET /books" not in spans:
                await anyio.sleep(0.01)
                spans = {span.name: span for span in exporter.get_finished_spans()}
        group.cancel_scope.cancel()

    request = spans["GET /books"].context.span_id
    for shelf in ("novels", "poems"):
        assert spans[f"query {shelf}"].parent.span_id == request


async def test_the_starlette_application_answers_and_counts(example: Load) -> None:
    pytest.importorskip("anycorn", reason="anycorn is not installed")
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    module = example("starlette_app")
    stop = anyio.Event()

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            serve = partial(module.main, "127.0.0.1:0", shutdown_trigger=stop.wait)
            [url] = await group.start(serve)
            async with httpx.AsyncClient(base_url=url, verify=False) as client:
                texts = [(await client.get(path)).text for path in ("/", "/count")]
            stop.set()

    assert texts == ["hello\n", "0\n1\n2\n"]


async def test_the_redis_client_counts_and_hears(example: Load, tmp_path: Path) -> None:
    pytest.importorskip("coredis", reason="coredis is not installed")
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("there is no redis-server on PATH")

    with anyio.fail_after(SECONDS), reserved_port() as port:
        command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        async with await anyio.open_process(command, cwd=tmp_path, stdout=DEVNULL) as process:
            await until_it_listens(port)
            visits, sums, news = await example("redis_client").main(port)
            process.terminate()

    assert (visits, sums, news) == (50, [51, 61, 161], "mio is running")


async def until_it_listens(port: int) -> None:
    """Tries until a connection succeeds; the caller bounds it."""
    while True:
        try:
            stream = await anyio.connect_tcp("127.0.0.1", port)
        except OSError:
            await anyio.sleep(0.01)
        else:
            await stream.aclose()
            return
