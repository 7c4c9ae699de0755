"""What the tests rely on when they reserve a port for a server."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack

import pytest

from tests.shared.ports import LOCAL, reserved_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="as measured on Linux")


def test_a_reserved_port_refuses_connections_until_a_server_listens_on_it() -> None:
    with reserved_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOCAL, port))

        with socket.create_server((LOCAL, port)):
            socket.create_connection((LOCAL, port)).close()


def test_a_reserved_port_is_given_to_no_other_socket() -> None:
    with ExitStack() as stack:
        reserved = [stack.enter_context(reserved_port()) for _ in range(500)]
        listeners = [stack.enter_context(socket.create_server((LOCAL, 0))) for _ in range(100)]

        assert len(set(reserved)) == 500
        assert {listener.getsockname()[1] for listener in listeners}.isdisjoint(reserved)
