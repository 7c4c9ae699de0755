"""HAProxy with health checks in front of two servers, of which one is killed and one reloads."""

from __future__ import annotations

import http.client
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import DEVNULL

import pytest

from tests.shared.ports import reserved_port

from .command import LIMIT, kill, port_of, serving, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed"),
]

CONFIGURATION = """
defaults
    mode http
    timeout connect 2s
    timeout client 10s
    timeout server 10s
    retries 5
    retry-on conn-failure empty-response response-timeout
    option redispatch
frontend front
    bind 127.0.0.1:{front}
    default_backend mio
backend mio
    balance roundrobin
    option httpchk GET /
    server one 127.0.0.1:{one} check inter 100ms fall 2 rise 1
    server two 127.0.0.1:{two} check inter 100ms fall 2 rise 1
"""


@contextmanager
def haproxy(folder: Path, one: int, two: int) -> Iterator[int]:
    """HAProxy in front of two ports; its own port."""
    path = folder / "haproxy.cfg"
    command = ["haproxy", "-db", "-f", str(path)]
    with reserved_port() as front:
        path.write_text(CONFIGURATION.format(front=front, one=one, two=two))
        with subprocess.Popen(command, stdout=DEVNULL, stderr=DEVNULL) as process:
            try:
                until(lambda: get(front) == 200)
                yield front
            finally:
                process.kill()


def get(port: int) -> int:
    """The status of one request on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)) as client:
        return status_of(client)


def status_of(client: http.client.HTTPConnection) -> int:
    """The status of the next request, 0 if there was no answer."""
    try:
        client.request("GET", "/")
        response = client.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        client.close()
        return 0
    return response.status


def test_no_request_fails_while_one_server_is_killed_and_the_other_reloads(tmp_path: Path) -> None:
    statuses: list[int] = []
    done = threading.Event()
    # HAProxy keeps idle connections open, and a worker waits for them as long as its grace is.
    options = ("--bind", "127.0.0.1:0", "--workers", "2", "--grace", "1")

    def load(port: int) -> None:
        """A keep-alive client; it connects again only where HAProxy would have it so."""
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
        with closing(client):
            while not done.is_set():
                statuses.append(status_of(client))

    with serving("http-hello", *options) as one, serving("http-hello", *options) as two:
        ports = port_of(one), port_of(two)
        victims = [one.wait_for("worker ready")["pid"] for _ in range(2)]
        two.wait_for("worker ready", times=2)
        with haproxy(tmp_path, *ports) as front:
            clients = [threading.Thread(target=load, args=(front,)) for _ in range(3)]
            for client in clients:
                client.start()
            until(lambda: len(statuses) > 50)
            for pid in victims:
                kill(pid)
            two.send(signal.SIGHUP)
            one.wait_for("worker ready", times=2)
            two.wait_for("reloaded")
            reached = len(statuses)
            until(lambda: len(statuses) > reached + 50)
            done.set()
            for client in clients:
                client.join(LIMIT)

    assert set(statuses) == {200}
