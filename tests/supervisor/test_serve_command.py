"""`anyio-mio serve`: workers, restarts, reloads, stops, and what it says when it cannot."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.shared.certificates import client_context, renew_files, write_certificate

from .command import LIMIT, Serve, connect, kill, ping, port_of, serving, until

pytestmark = pytest.mark.slow

ANY_PORT = ("--bind", "127.0.0.1:0")


def test_echo_is_served_and_sigterm_ends_it_with_status_0() -> None:
    with serving("echo", *ANY_PORT) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        ping(port)
        serve.send(signal.SIGTERM)
        stopped = serve.wait_for("worker stopped")

        assert serve.status() == 0
    assert stopped["accepted"] == stopped["finished"] == 1


def test_http_hello_answers() -> None:
    with serving("http-hello", *ANY_PORT) as serve, connect(port_of(serve)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with client.makefile("rb") as answer:
            assert answer.read().endswith(b"hello from mio\n")


def test_a_client_that_comes_while_a_killed_worker_is_replaced_is_served_by_the_next() -> None:
    with serving("echo", *ANY_PORT) as serve:
        port = port_of(serve)
        kill(serve.wait_for("worker ready")["pid"])
        crashed = serve.wait_for("worker crashed")
        ping(port)

    assert (crashed["status"], crashed["restart_in"]) == (-signal.SIGKILL, 0.1)


def test_a_reload_replaces_every_worker_and_fails_no_connection() -> None:
    done, failures, served = threading.Event(), [], []

    def load(port: int) -> None:
        while not done.is_set():
            try:
                ping(port)
                served.append(1)
            except (OSError, AssertionError) as error:
                failures.append(error)

    with serving("echo", *ANY_PORT, "--workers", "2") as serve:
        port = port_of(serve)
        before = {serve.wait_for("worker ready")["pid"] for _ in range(2)}
        clients = [threading.Thread(target=load, args=(port,)) for _ in range(3)]
        for client in clients:
            client.start()
        serve.send(signal.SIGHUP)
        after = {serve.wait_for("worker ready")["pid"] for _ in range(2)}
        serve.wait_for("reloaded")
        done.set()
        for client in clients:
            client.join(LIMIT)

    assert not failures
    assert served
    assert not before & after


def test_an_open_connection_may_finish_within_the_grace_period() -> None:
    with serving("echo", *ANY_PORT, "--grace", "10") as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        with connect(port) as client:
            client.sendall(b"one")
            assert client.recv(3) == b"one"
            serve.send(signal.SIGTERM)
            serve.wait_for("stopping")
            client.sendall(b"two")
            assert client.recv(3) == b"two"
        stopped = serve.wait_for("worker stopped")

        assert serve.status() == 0
    assert (stopped["finished"], stopped["cancelled"]) == (1, 0)


def test_a_second_sigterm_does_not_wait() -> None:
    with serving("echo", *ANY_PORT, "--grace", "600") as serve:
        port = port_of(serve)
        serve.wait_for("worker ready")
        with connect(port) as client:
            client.sendall(b"one")
            assert client.recv(3) == b"one"
            serve.send(signal.SIGTERM)
            serve.wait_for("stopping")
            serve.send(signal.SIGTERM)
            serve.wait_for("stopping at once")

            assert serve.status() == 0


def test_a_unix_path_is_served_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with serving("echo", "--bind", f"unix:{path}", "--workers", "2") as serve:
        serve.wait_for("worker ready", times=2)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(LIMIT)
            client.connect(str(path))
            client.sendall(b"ping")
            assert client.recv(4) == b"ping"
        serve.send(signal.SIGTERM)
        assert serve.status() == 0

    assert not path.exists()


def test_sockets_of_a_service_manager_are_served() -> None:
    launcher = (
        "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.environ['LISTEN_FDS'] = '1'; os.dup2(int(sys.argv[1]), 3);"
        "os.execv(sys.executable, [sys.executable, '-m', 'anyio_mio', 'serve', 'echo'])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        fd = listener.fileno()
        with subprocess.Popen(
            [sys.executable, "-c", launcher, str(fd)],
            pass_fds=(fd, 3) if fd == 3 else (fd,),
            stderr=subprocess.DEVNULL,
        ) as process:
            ping(port)
            process.terminate()
            assert process.wait(LIMIT) == 0


def test_tls_is_served(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    options = ("--tls-cert", files.certificate, "--tls-key", files.key)

    with (
        serving("echo", *ANY_PORT, *options) as serve,
        connect(port_of(serve)) as plain,
        client_context().wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(b"ping")
        assert client.recv(4) == b"ping"


def test_a_certificate_is_renewed_on_a_signal_and_old_connections_outlive_the_grace_period(
    tmp_path: Path,
) -> None:
    def certificate(port: int) -> bytes | None:
        with (
            connect(port) as plain,
            client_context().wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            return client.getpeercert(binary_form=True)

    files = write_certificate(tmp_path)
    options = ("--tls-cert", files.certificate, "--tls-key", files.key, "--grace", "0.1")
    with (
        serving("echo", *ANY_PORT, *options, "--workers", "2") as serve,
        connect(port := port_of(serve)) as plain,
        client_context().wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        serve.wait_for("worker ready", times=2)
        before = certificate(port)
        renew_files(files)
        serve.send(signal.SIGUSR2)
        for _ in range(2):
            serve.wait_for(f"certificate renewed: {files.certificate}")
        after = {certificate(port) for _ in range(4)}
        time.sleep(0.3)
        client.sendall(b"ping")
        assert client.recv(4) == b"ping"

        Path(files.key).write_text("nonsense")
        serve.send(signal.SIGUSR2)
        until(lambda: serve.wait_for_any("logger") and not_renewed(serve))
        assert {certificate(port)} == after

    assert len(after) == 1
    assert before not in after


def test_a_reload_with_a_renewed_certificate_fails_no_connection(tmp_path: Path) -> None:
    done, failures, seen = threading.Event(), [], set()
    files = write_certificate(tmp_path)

    def talk(port: int) -> bytes:
        with (
            connect(port) as plain,
            client_context().wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            for _ in range(20):
                client.sendall(b"ping")
                assert client.recv(4) == b"ping"
            return client.getpeercert(binary_form=True) or b""

    def load(port: int) -> None:
        while not done.is_set():
            try:
                seen.add(talk(port))
            except (OSError, AssertionError) as error:
                failures.append(error)

    options = ("--tls-cert", files.certificate, "--tls-key", files.key, "--workers", "2")
    with serving("echo", *ANY_PORT, *options) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready", times=2)
        before = talk(port)
        clients = [threading.Thread(target=load, args=(port,)) for _ in range(3)]
        for client in clients:
            client.start()
        renew_files(files)
        serve.send(signal.SIGHUP)
        serve.wait_for("reloaded")
        done.set()
        for client in clients:
            client.join(LIMIT)
        after = {talk(port) for _ in range(4)}

    assert not failures
    assert len(after) == 1
    assert before not in after
    assert seen <= {before, *after}


def not_renewed(serve: Serve) -> bool:
    return any("certificate not renewed" in line["event"] for line in serve.seen)


def test_without_a_certificate_the_signal_says_so() -> None:
    with serving("echo", *ANY_PORT) as serve:
        serve.wait_for("worker ready")
        serve.send(signal.SIGUSR2)
        assert serve.wait_for("no certificate to renew")["right"] == "--tls-cert chain.pem"


def test_connections_above_the_limit_wait_for_their_turn() -> None:
    with serving("echo", *ANY_PORT, "--max-connections", "1") as serve:
        port = port_of(serve)
        with connect(port) as first:
            first.sendall(b"one")
            assert first.recv(3) == b"one"
            second = connect(port)
            second.sendall(b"two")
        with second:
            assert second.recv(3) == b"two"


def test_a_handler_of_the_users_own_is_served(tmp_path: Path) -> None:
    (tmp_path / "shout.py").write_text(
        "async def handler(stream):\n    await stream.send((await stream.receive()).upper())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path[:1]])}
    with (
        serving("shout:handler", *ANY_PORT, cwd=tmp_path, env=environment) as serve,
        connect(port_of(serve)) as client,
    ):
        client.sendall(b"ping")
        assert client.recv(4) == b"PING"


def test_a_handler_that_cannot_be_loaded_ends_it_with_a_clear_line() -> None:
    with serving("no_such_module:handler", *ANY_PORT) as serve:
        assert serve.status() == 1
        serve.wait_for("stopped")

    assert "serving" not in [line["event"] for line in serve.seen]
    assert any("there is no module 'no_such_module'" in str(line) for line in serve.seen)


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving("echo", "--bind", address) as serve:
            assert serve.status() == 1
            line = serve.wait_for("cannot serve")
            assert line["error"].startswith(
                f"cannot listen on {address}: Address already in use by "
            )
