"""The options ``debug`` and ``old_connection``: sockets that are never closed, and old ones."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

import anyio_mio
from anyio_mio._backend.open_sockets import PLAIN_CLOSE, PLAIN_INIT
from anyio_mio._net.socket_base import Descriptor

LOGGER = "anyio_mio.debug"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


async def with_a_pair(use: Callable[[Any, Any], Any]) -> None:
    """Call a function with both ends of a connection."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener:
        port = listener.extra(SocketAttribute.local_port)
        one: Any = listener.listeners[0]
        client = await anyio.connect_tcp("127.0.0.1", port)
        await use(client, await one.accept())


def test_a_socket_that_is_dropped_is_logged_with_the_place_where_it_was_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def drop(client: Any, server: Any) -> None:
        await client.aclose()

    async def main() -> None:
        await with_a_pair(drop)
        gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Python's own, without a place
        anyio_mio.run(main, debug=True)

    (line,) = lines(caplog)
    assert line.startswith("TCP 127.0.0.1:")
    assert "was never closed; it was made here:" in line
    assert line.endswith("await use(client, await one.accept())")


def test_a_socket_that_is_kept_is_logged_at_the_end_of_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept: list[Any] = []

    async def keep(client: Any, server: Any) -> None:
        kept.extend((client, server))
        await server.aclose()

    anyio_mio.run(with_a_pair, keep, debug=True)
    kept[0]._sock.close()

    (line,) = lines(caplog)
    assert "is still open at the end of the run" in line
    assert 'client = await anyio.connect_tcp("127.0.0.1", port)' in line


def test_a_connection_that_is_open_too_long_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def wait(client: Any, server: Any) -> None:
        with anyio.fail_after(10):
            while len(lines(caplog)) < 2:
                await anyio.sleep(0.02)
        await anyio.sleep(0.2)
        await client.aclose()
        await server.aclose()

    anyio_mio.run(with_a_pair, wait, old_connection=0.1)

    assert len(lines(caplog)) == 2  # both ends; the listener is none
    assert all(" has been open for 0." in line for line in lines(caplog))


def test_what_is_closed_is_not_logged_and_nothing_is_left_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def close(client: Any, server: Any) -> None:
        async with client, server:
            receiver, sender = anyio.create_memory_object_stream[int]()
            receiver.close()
            sender.close()

    anyio_mio.run(with_a_pair, close, debug=True, old_connection=100)

    assert lines(caplog) == []
    assert (Descriptor.__init__, Descriptor._close) == (PLAIN_INIT, PLAIN_CLOSE)


def test_debug_sets_a_limit_for_slow_steps_and_python_in_development_mode_sets_debug() -> None:
    program = (
        "import anyio_mio, time\nasync def main():\n    time.sleep(0.3)\nanyio_mio.run(main)\n"
    )
    command = [sys.executable, "-X", "dev", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "has blocked the event loop" in done.stderr


@pytest.mark.parametrize(
    "options, error",
    [
        ({"debug": 1}, TypeError),
        ({"old_connection": -1}, ValueError),
        ({"old_connection": "1"}, TypeError),
    ],
)
def test_a_value_that_is_none_is_refused(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="right: "):
        anyio_mio.run(anyio.sleep, 0, **options)


def test_a_run_that_is_not_watched_does_not_load_the_watch() -> None:
    program = (
        "import anyio, anyio_mio, sys\n"
        "anyio_mio.run(anyio.sleep, 0)\n"
        "print('anyio_mio._backend.open_sockets' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, LOGGER)
