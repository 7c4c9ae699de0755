from __future__ import annotations

import pytest

from anyio_mio._bench.processes import serving
from anyio_mio._bench.protocol import MeasurementError


def test_a_server_that_cannot_start_says_why() -> None:
    with (
        pytest.raises(MeasurementError, match=r"the server on moi ended with status 1: .*moi"),
        serving("moi", "tcp"),
    ):
        pass


def test_a_server_tells_what_it_has_used() -> None:
    with serving("asyncio", "tcp") as server:
        used = server.statistics()

    assert used["cpu_seconds"] > 0
    assert used["resident_bytes"] > 0
    assert used["sleeps"] > 0
