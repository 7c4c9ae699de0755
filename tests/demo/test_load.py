import socket

import pytest

from anyio_mio._demo import load
from anyio_mio._demo.conversation import LostBytesError
from anyio_mio._demo.measurement import running_server


def test_a_burst_opens_all_its_connections_before_it_reads() -> None:
    with running_server("asyncio") as server:
        figures = load.bursts(server.port, connections=20, size=64, seconds=0.1)

    assert figures.connections == figures.round_trips
    assert figures.connections % 20 == 0
    assert figures.verified_bytes == figures.connections * 64


def test_bursts_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MOST_CONNECTIONS", 25)

    with running_server("asyncio") as server:
        figures = load.bursts(server.port, connections=20, size=64, seconds=10)

    assert figures.connections == 25


def test_the_steady_load_collects_what_is_under_way_when_time_is_up() -> None:
    with running_server("asyncio") as server:
        figures = load.steady(server.port, connections=5, size=64, seconds=0.1)

    assert figures.verified_bytes == (figures.round_trips + 5) * 64
    assert 0 < figures.p50_us <= figures.p99_us


def test_a_server_that_never_answers_counts_as_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE", 0.05)

    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(LostBytesError, match="the server is stuck"),
    ):
        load.steady(mute.getsockname()[1], connections=1, size=64, seconds=1)
