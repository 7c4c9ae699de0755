"""Sockets inside `trio.run`, in each of the two places where they can wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from anyio_mio.trio import hub
from tests.trio.running import Pair, tcp_pair, unix_pair

PairMaker = Callable[[], Awaitable[Pair]]

PLACES = {"direct": 10**9, "nested": -hub.DECIDED}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where sockets wait; the nested set is taken from the first tick on that has a wait."""
    monkeypatch.setattr(hub, "BREAK_EVEN", PLACES[request.param])
    return str(request.param)


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "BREAK_EVEN", PLACES["nested"])


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "BREAK_EVEN", PLACES["direct"])


@pytest.fixture(params=[tcp_pair, unix_pair], ids=["tcp", "unix"])
def make_pair(request: pytest.FixtureRequest) -> PairMaker:
    maker: PairMaker = request.param
    return maker
