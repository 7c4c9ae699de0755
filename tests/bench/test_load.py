"""The load generator, in this process and against a server on asyncio."""

from __future__ import annotations

import argparse
import socket

import pytest

from anyio_mio._bench import conversation, load
from anyio_mio._bench.conversation import LostBytesError
from anyio_mio._bench.load import LoadFigures, Progress
from anyio_mio._bench.processes import serving


def drive(kind: str, port: int, peers: int, seconds: float) -> LoadFigures:
    given = argparse.Namespace(kind=kind, port=port, path=None, peers=peers, size=64, every=0.0)
    with load.KINDS[kind](given) as run:
        return run(Progress(seconds))


def test_a_burst_opens_all_its_connections_before_it_reads() -> None:
    with serving("asyncio", "tcp") as server:
        figures = drive("bursts", server.port, peers=20, seconds=0.1)

    assert figures.connections == figures.round_trips
    assert figures.connections % 20 == 0
    assert figures.verified_bytes == figures.connections * 64


def test_bursts_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MOST_CONNECTIONS", 25)

    with serving("asyncio", "tcp") as server:
        figures = drive("bursts", server.port, peers=20, seconds=10)

    assert figures.connections == 25


def test_round_trips_that_are_under_way_when_time_is_up_are_collected() -> None:
    with serving("asyncio", "tcp") as server:
        figures = drive("tcp", server.port, peers=5, seconds=0.1)

    assert figures.verified_bytes == (figures.round_trips + 5) * 64
    assert 0 < figures.p50_us <= figures.p95_us <= figures.p99_us


def test_a_server_that_never_answers_counts_as_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "PATIENCE", 0.05)

    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(LostBytesError, match="the server is stuck"),
    ):
        drive("tcp", mute.getsockname()[1], peers=1, seconds=1)
