import errno
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from anyio_mio._supervisor import port_holder
from anyio_mio._supervisor.binding import TcpAddress, UnixAddress
from anyio_mio._supervisor.listening import explain
from anyio_mio._supervisor.port_holder import find_port_holder

LISTEN = """
import socket
listener = socket.create_server((%r, 0), family=socket.%s)
print(listener.getsockname()[1], flush=True)
input()
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="it reads Linux's /proc")
IN_USE = OSError(errno.EADDRINUSE, "Address already in use")


@linux
@pytest.mark.parametrize("host, family", [("127.0.0.1", "AF_INET"), ("::1", "AF_INET6")])
def test_a_process_that_listens_is_named(host: str, family: str) -> None:
    command = [sys.executable, "-c", LISTEN % (host, family)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = find_port_holder(int(process.stdout.readline()))
        process.communicate("\n")

    assert found is not None
    assert found.endswith(f"(process {process.pid})")


def test_a_port_that_is_free_has_no_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert find_port_holder(port) is None


def test_without_proc_the_holder_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_holder, "PROC", tmp_path / "missing")

    text = explain(IN_USE, TcpAddress("127.0.0.1", 65535))

    assert text.splitlines() == [
        "Address already in use",
        "  right: another port, such as 127.0.0.1:8000, or stop the program that listens there",
    ]


def test_for_a_path_in_use_another_path_is_advised() -> None:
    assert "right: another path" in explain(IN_USE, UnixAddress("/run/app.sock"))


def test_for_a_port_that_is_not_allowed_another_one_is_advised() -> None:
    denied = OSError(errno.EACCES, "Permission denied")

    assert "right: a port from 1024 on" in explain(denied, TcpAddress("127.0.0.1", 80))


def test_another_error_is_said_as_the_system_says_it() -> None:
    denied = OSError(errno.EACCES, "Permission denied")

    assert explain(denied, UnixAddress("/run/app.sock")) == "Permission denied"
