"""Workers that cannot be started, hang, are stopped or have done enough: the others serve on."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme

from .command import LIMIT, connect, kill, ping, port_of, serving, until, user_module

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

ANY_PORT = ("--bind", "127.0.0.1:0")

ECHO = "from anyio_mio._supervisor.handlers import echo as handler\n"


def limit_descriptors(pid: int, spare: int) -> None:
    highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + spare, hard))


def allow_descriptors(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit() is Linux's")
@pytest.mark.parametrize("spare", [0, 3])
def test_a_reload_without_descriptors_fails_with_one_line_and_the_workers_go_on(
    spare: int,
) -> None:
    with serving("echo", *ANY_PORT, "--workers", "2") as serve:
        port = port_of(serve)
        before = {serve.wait_for("worker ready")["pid"] for _ in range(2)}
        limit_descriptors(serve.process.pid, spare)
        serve.send(signal.SIGHUP)
        failed = serve.wait_for("reload failed, the old worker goes on")
        ping(port)
        allow_descriptors(serve.process.pid)
        serve.send(signal.SIGHUP)
        serve.wait_for("reloaded")
        after = {line["pid"] for line in serve.seen if line["event"] == "worker ready"} - before

    assert "Too many open files" in failed["error"]
    assert len(after) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit() is Linux's")
def test_a_crashed_worker_is_started_when_there_are_descriptors_again() -> None:
    with serving("echo", *ANY_PORT) as serve:
        port = port_of(serve)
        pid = serve.wait_for("worker ready")["pid"]
        limit_descriptors(serve.process.pid, 0)
        # Its end gives back descriptors, but fewer than another worker needs.
        limit_descriptors(serve.process.pid, -1)
        kill(pid)
        failed = serve.wait_for("worker not started")
        allow_descriptors(serve.process.pid)
        serve.wait_for("worker ready")
        ping(port)

    assert "Too many open files" in failed["error"]
    assert failed["level"] == "error"


def test_a_module_that_hangs_on_import_is_given_up_and_the_line_is_shown(tmp_path: Path) -> None:
    popen = user_module(tmp_path, "import time\ntime.sleep(600)\n")
    with serving("user_module:handler", *ANY_PORT, "--start-timeout", "1", **popen) as serve:
        serve.wait_for("worker not ready")
        serve.wait_for("worker crashed")
        serve.wait_for("worker not ready")

    shown = " ".join(str(line["event"]) for line in serve.seen)
    assert 'user_module.py", line 2 in <module>' in shown


def test_a_reload_that_hangs_on_import_gives_way_to_a_later_one(tmp_path: Path) -> None:
    popen = user_module(tmp_path, ECHO)
    with serving("user_module:handler", *ANY_PORT, **popen) as serve:
        port = port_of(serve)
        old = serve.wait_for("worker ready")["pid"]
        user_module(tmp_path, "import time; print(7, file=open('hangs', 'w')); time.sleep(600)\n")
        serve.send(signal.SIGHUP)
        until((tmp_path / "hangs").exists)
        ping(port)
        user_module(tmp_path, ECHO)
        serve.send(signal.SIGHUP)
        serve.wait_for("reload failed, the old worker goes on")
        new = serve.wait_for("worker ready")["pid"]
        serve.wait_for("reloaded")
        ping(port)

    assert old != new


def test_what_a_worker_starts_does_not_keep_the_port(tmp_path: Path) -> None:
    starts = "import os, subprocess\nsubprocess.Popen(['cat'], stderr=2, close_fds=False)\n"
    forks = "if not os.fork():\n    os.close(2)\n    os.read(0, 1)\n    os._exit(0)\n"
    popen = user_module(tmp_path, starts + forks + ECHO)
    with serving("user_module:handler", *ANY_PORT, stdin=subprocess.PIPE, **popen) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        ping(port)
        serve.send(signal.SIGTERM)
        assert serve.status() == 0
        with pytest.raises(ConnectionRefusedError):
            connect(port)


@pytest.mark.parametrize("how", ["stopped", "blocked"])
def test_a_worker_that_no_longer_answers_is_replaced(how: str, tmp_path: Path) -> None:
    blocks = "import time\nasync def handler(stream):\n    time.sleep(600)\n"
    popen = user_module(tmp_path, blocks)
    with serving("user_module:handler", *ANY_PORT, "--worker-timeout", "1", **popen) as serve:
        port = port_of(serve)
        pid = serve.wait_for("worker ready")["pid"]
        if how == "stopped":
            os.kill(pid, signal.SIGSTOP)
        else:
            connect(port).close()
        silent = serve.wait_for("worker silent")
        crashed = serve.wait_for("worker crashed")
        serve.wait_for("worker ready")

    assert (silent["worker"], crashed["status"]) == (1, -signal.SIGKILL)
    if how == "blocked":
        assert any('user_module.py", line 3 in handler' in line["event"] for line in serve.seen)


def test_a_supervisor_that_was_suspended_kills_no_worker_for_it() -> None:
    with serving("echo", *ANY_PORT, "--worker-timeout", "1") as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        serve.send(signal.SIGSTOP)
        time.sleep(2)
        ping(port)
        serve.send(signal.SIGCONT)
        time.sleep(1)
        ping(port)
        serve.send(signal.SIGTERM)
        serve.wait_for("stopped")

    assert not [line for line in serve.seen if line["level"] == "error"]


def test_a_worker_that_has_accepted_enough_is_replaced_and_no_client_is_refused() -> None:
    options = ("--recycle-connections", "5", "--recycle-jitter", "0")
    with serving("echo", *ANY_PORT, *options) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        for _ in range(5):
            ping(port)
        recycling = serve.wait_for("recycling")
        serve.wait_for("worker ready")
        stopped = serve.wait_for("worker stopped")
        ping(port)

    assert (recycling["reason"], recycling["accepted"]) == ("accepted", 5)
    assert stopped["cancelled"] == 0


def test_a_renewed_certificate_is_used_and_drops_no_connection(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"

    def renew() -> None:
        pair = authority.issue_cert("127.0.0.1")
        pair.cert_chain_pems[0].write_to_path(str(cert))
        pair.private_key_pem.write_to_path(str(key))

    def open_tls(port: int) -> ssl.SSLSocket:
        return context.wrap_socket(connect(port), server_hostname="127.0.0.1")

    renew()
    options = ("--tls-cert", str(cert), "--tls-key", str(key), "--grace", "600")
    with serving("echo", *ANY_PORT, *options) as serve:
        port = port_of(serve)
        with open_tls(port) as old:
            before = old.getpeercert(binary_form=True)
            renew()
            serve.wait_for(f"certificate renewed: {cert}")
            with open_tls(port) as new:
                assert new.getpeercert(binary_form=True) != before
            old.sendall(b"ping")
            assert old.recv(4) == b"ping"
            serve.process.kill()


def test_a_reload_uses_the_renewed_certificate_while_old_connections_finish(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    path = tmp_path / "both.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    with serving("echo", *ANY_PORT, "--tls-cert", str(path)) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        with context.wrap_socket(connect(port), server_hostname="127.0.0.1") as old:
            before = old.getpeercert(binary_form=True)
            new = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
            new.write_to_path(str(path))
            serve.send(signal.SIGHUP)
            serve.wait_for("worker ready")
            time.sleep(0.2)
            with context.wrap_socket(connect(port), server_hostname="127.0.0.1") as client:
                assert client.getpeercert(binary_form=True) != before
            old.sendall(b"ping")
            assert old.recv(4) == b"ping"
        stopped = serve.wait_for("worker stopped")
        serve.wait_for("reloaded")

    assert stopped["cancelled"] == 0


def test_a_service_manager_hears_ready_reloading_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000000"}
        with serving("echo", *ANY_PORT, env={**os.environ, **told}) as serve:
            serve.wait_for("worker ready")
            messages = [manager.recv(4096).decode() for _ in range(2)]
            serve.send(signal.SIGHUP)
            serve.wait_for("reloaded")
            messages += [manager.recv(4096).decode() for _ in range(2)]
            serve.send(signal.SIGTERM)
            messages.append(manager.recv(4096).decode())
            assert serve.status() == 0

    assert [text.partition("=1")[0] for text in messages] == [
        "WATCHDOG",
        "READY",
        "RELOADING",
        "READY",
        "STOPPING",
    ]
    assert "MONOTONIC_USEC=" in messages[2]
