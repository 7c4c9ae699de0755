"""HAProxy and nginx in front, with connections kept alive and a reload under load."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.asgi import apps
from tests.asgi.served import Client, Kind, TLSSocket
from tests.asgi.served import serving as serving_here
from tests.asgi.test_requests import scope_of, wait_for
from tests.shared.ports import reserved_port
from tests.supervisor.command import serving

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    retries 3
frontend web
    bind 127.0.0.1:{port}
    option forwardfor
    default_backend app
backend app
    option redispatch
    retry-on conn-failure empty-response
    server one {app}
"""

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream app {{ server {app}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""


def program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {name})")
    return found


@pytest.fixture
def reserved() -> Iterator[int]:
    with reserved_port() as port:
        yield port


@contextmanager
def proxy(kind: str, app: str, folder: Path) -> Iterator[int]:
    path = folder / "proxy.conf"
    if kind == "haproxy":
        command, configuration = [program("haproxy"), "-f", str(path)], HAPROXY
    else:
        command, configuration = [program("nginx"), "-c", str(path), "-p", str(folder)], NGINX
    with reserved_port() as port:
        path.write_text(configuration.format(port=port, app=app, folder=folder))
        with running(command, port):
            yield port


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """A proxy, from the time at which it listens."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port(port, process)
            yield
        finally:
            process.terminate()
            process.wait(10)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 10
    while True:
        assert process.poll() is None, "the proxy ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


class Load(threading.Thread):
    """A client that keeps its connection to the proxy."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.over = threading.Event()
        self.answered = 0
        self.failures: list[object] = []
        self.pids: set[str] = set()
        self._connection = HTTPConnection("127.0.0.1", port, timeout=15)

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._connection.request("GET", "/")
                answer = self._connection.getresponse()
                body = answer.read().decode()
                if answer.status != 200:
                    self.failures.append((answer.status, body))
                self.pids.add(body.split()[0])
                self.answered += 1
            except Exception as error:  # noqa: BLE001 - each one is a failure
                self.failures.append(error)
                self._connection.close()
        self._connection.close()


def pids_of(loads: list[Load]) -> set[str]:
    """The workers that have answered."""
    return {pid for load in loads for pid in list(load.pids)}


@pytest.mark.parametrize("kind", ["haproxy", "nginx"])
@pytest.mark.parametrize("is_unix", [False, True])
def test_a_reload_behind_a_proxy_fails_no_request(
    kind: str, is_unix: bool, tmp_path: Path, reserved: int
) -> None:
    program(kind)
    if is_unix:
        bind = f"unix:{tmp_path}/app.sock"
        app = bind if kind == "nginx" else f"unix@{tmp_path}/app.sock"
    else:
        app = f"127.0.0.1:{reserved}"
        bind = app
    target = "tests.asgi.command_apps:starlette"
    with serving(target, "--bind", bind, "--workers", "2") as serve:
        serve.wait_for("worker ready", 2)
        with proxy(kind, app, tmp_path) as port:
            loads = [Load(port) for _ in range(4)]
            for load in loads:
                load.start()
            wait_for(lambda: pids_of(loads), 15)
            old = pids_of(loads)
            serve.send(signal.SIGHUP)
            serve.wait_for("reloaded")
            wait_for(lambda: pids_of(loads) - old, 15)
            for load in loads:
                load.over.set()
            for load in loads:
                load.join()
    assert [failure for load in loads for failure in load.failures] == []
    assert sum(load.answered for load in loads) > 20


TUNNEL = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
listen tunnel
    bind 127.0.0.1:{port}
    server one {app} {header}
"""


@pytest.mark.parametrize("kind", ["tcp", "tls"])
@pytest.mark.parametrize("header", ["send-proxy", "send-proxy-v2"])
def test_haproxy_tells_the_client_of_a_tunnel(
    kind: Kind, header: str, tmp_path: Path, reserved: int
) -> None:
    command = [program("haproxy"), "-f", str(tmp_path / "tunnel.conf")]
    with serving_here(apps.routes, kind, proxy_protocol=True) as served:
        port = reserved
        app = f"127.0.0.1:{served.port}"
        (tmp_path / "tunnel.conf").write_text(TUNNEL.format(port=port, app=app, header=header))
        with running(command, port), socket.create_connection(("127.0.0.1", port), 5) as sock:
            client = Client(TLSSocket(sock) if kind == "tls" else sock)
            scope = scope_of(client.get(b"/show").body)
            assert scope["client"] == sock.getsockname()
            assert scope["server"] == ("127.0.0.1", port)
            assert scope["scheme"] == ("https" if kind == "tls" else "http")
