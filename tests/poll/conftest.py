"""Each test of the poller runs on every selector of the platform."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator

import pytest

from anyio_mio.poll import Poll, Selector, default_selector
from anyio_mio.poll._sys.busy_poll import BusyPoll
from anyio_mio.poll._sys.level import LevelSelector
from anyio_mio.poll._sys.scan import SelectScan
from tests.models.selectors import SELECTORS

Pair = tuple[socket.socket, socket.socket]

VARIANTS: dict[str, Callable[[], Selector]] = dict(SELECTORS)
VARIANTS["busy"] = lambda: BusyPoll(default_selector(), 20e-6)
if hasattr(select, "poll"):
    VARIANTS["level+select"] = lambda: LevelSelector(SelectScan())


@pytest.fixture(params=VARIANTS)
def make_selector(request: pytest.FixtureRequest) -> Callable[[], Selector]:
    return VARIANTS[request.param]


@pytest.fixture
def selector(make_selector: Callable[[], Selector]) -> Iterator[Selector]:
    with make_selector() as selector:
        yield selector


@pytest.fixture
def poll(selector: Selector) -> Iterator[Poll]:
    with Poll(selector) as poll:
        yield poll


@pytest.fixture
def only_native_edges(selector: Selector) -> None:
    if not selector.edge_triggered:
        pytest.skip("edges made by hand come only after a would_block")


@pytest.fixture
def only_epoll(selector: Selector) -> None:
    if selector.name != "epoll":
        pytest.skip("the entry belongs to the file on epoll, and to the descriptor elsewhere")


@pytest.fixture
def tells_priority(selector: Selector) -> None:
    if not selector.tells_priority:
        pytest.skip("no filter of kqueue tells of urgent data on every system")


@pytest.fixture
def tells_closing(request: pytest.FixtureRequest, make_selector: Callable[[], Selector]) -> None:
    if make_selector is VARIANTS.get("level+select"):
        pytest.skip("select(2) does not tell closing and errors from data")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture
def tcp(listener: socket.socket) -> Iterator[Pair]:
    """A connection: the client's and the server's end, both non-blocking."""
    with socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            client.setblocking(False)
            server.setblocking(False)
            yield client, server


@pytest.fixture
def unix() -> Iterator[Pair]:
    """Two connected UNIX streams, both non-blocking."""
    first, second = socket.socketpair()
    with first, second:
        first.setblocking(False)
        second.setblocking(False)
        yield first, second


@pytest.fixture
def udp() -> Iterator[Pair]:
    """Two datagram sockets that are connected with each other, both non-blocking."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
    ):
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        first.connect(second.getsockname())
        second.connect(first.getsockname())
        first.setblocking(False)
        second.setblocking(False)
        yield first, second
