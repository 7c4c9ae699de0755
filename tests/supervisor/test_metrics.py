"""`anyio-mio serve --metrics` and `--health`: figures of all workers, and when it is ready."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from anyio_mio._supervisor.metric_sums import MetricSums
from anyio_mio.cli import observing_options
from anyio_mio.cli.group import group

from .command import LIMIT, Serve, connect, kill, ping, serving, until, user_module

ANY_PORT = ("--bind", "127.0.0.1:0")
METRICS = ("--metrics", "127.0.0.1:0")

APP = """
import asyncio, os, signal, time
from prometheus_client import Counter, Gauge, REGISTRY
from prometheus_client.core import GaugeMetricFamily
import anyio

orders = Counter("orders", "Orders.", ["kind"])
queue = Gauge("queue_length", "Length.", ["worker"])
queue.labels("mine").set(7)

class Fails:
    def describe(self):
        return []
    def collect(self):
        if os.path.exists("fail"):
            raise ValueError("this collector fails")
        return []

REGISTRY.register(Fails())

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["path"] == "/order":
        orders.labels("book").inc()
    if scope["path"] == "/block":
        time.sleep(2)
    if scope["path"] == "/slow":
        await anyio.sleep(1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

async def lifespan(receive, send):
    await receive()
    while os.path.exists("wait"):
        await anyio.sleep(0.02)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
"""

Labels = tuple[tuple[str, str], ...]


class Server:
    """A server with an application, and its management address."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.management = address_of(serve.wait_for("metrics and health"))
        self.port = address_of(serve.wait_for("listening"))

    def get(self, path: str, port: int = 0, **fields: str) -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", port or self.management, timeout=LIMIT)
        try:
            client.request("GET", path, headers=fields)
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    def request(self, path: str = "/", times: int = 1) -> None:
        for _ in range(times):
            assert self.get(path, self.port)[0] == 200

    def samples(self, **labels: str) -> dict[str, float]:
        """All samples with these labels, added up by their names."""
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1].decode()):
            for sample in family.samples:
                if labels.items() <= sample.labels.items():
                    sums[sample.name] = sums.get(sample.name, 0) + sample.value
        return sums

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200


def address_of(line: dict[str, Any]) -> int:
    return int(str(line["address"]).rpartition(":")[2])


@pytest.fixture
def application(tmp_path: Path) -> dict[str, Any]:
    return user_module(tmp_path, APP)


def in_a_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_the_figures_of_all_workers_are_added_up_and_outlive_a_reload_and_a_crash(
    application: dict[str, Any],
) -> None:
    options = (*ANY_PORT, *METRICS, "--workers", "2")
    with serving("user_module:app", *options, **application) as serve:
        server = Server(serve)
        pids = [serve.wait_for("worker ready")["pid"] for _ in range(2)]
        until(server.is_ready)
        server.request("/order", 30)
        first = server.samples()
        kill(pids[0])
        pids = [serve.wait_for("worker ready")["pid"], pids[1]]
        until(server.is_ready)
        second = server.samples()
        server.request("/order", 5)
        serve.send(signal.SIGHUP)
        serve.wait_for("reloaded")
        server.request("/order", 5)
        third = server.samples()

    for before, after, count in ((first, first, 30), (first, second, 30), (second, third, 40)):
        assert after["anyio_mio_http_requests_total"] == count
        assert after["orders_total"] == count
        assert after["anyio_mio_http_request_duration_seconds_count"] == count
        assert after["anyio_mio_connections_accepted_total"] == count
        falls = [
            name
            for name in before
            if name.endswith(("_total", "_bucket", "_count", "_sum")) and after[name] < before[name]
        ]
        assert falls == []
    assert third["anyio_mio_http_requests_active"] == 0
    assert third["anyio_mio_workers_replaced_total"] == 3


@pytest.mark.slow
def test_gauges_have_the_worker_and_the_pid_and_an_applications_label_is_renamed(
    application: dict[str, Any],
) -> None:
    with serving("user_module:app", *ANY_PORT, *METRICS, **application) as serve:
        server = Server(serve)
        pid = str(serve.wait_for("worker ready")["pid"])
        until(server.is_ready)
        held = connect(server.port)
        until(lambda: server.samples(pid=pid).get("anyio_mio_connections_open"))
        samples = server.samples(worker="1", pid=pid)
        renamed = server.samples(exported_worker="mine", worker="1")
        _, text = server.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
        held.close()

    assert samples["anyio_mio_tasks"] > 1
    assert samples["process_open_fds"] > 3
    assert renamed == {"queue_length": 7.0}
    assert text.endswith(b"# EOF\n")


@pytest.mark.slow
def test_a_worker_that_is_stuck_or_a_collector_that_fails_does_not_keep_the_page_away(
    application: dict[str, Any], tmp_path: Path
) -> None:
    with serving("user_module:app", *ANY_PORT, *METRICS, **application) as serve:
        server = Server(serve)
        until(server.is_ready)
        server.request("/order", 3)
        before = server.samples()
        stuck = in_a_thread(lambda: server.request("/block"))
        time.sleep(0.3)
        during = server.samples()
        stuck.join(LIMIT)
        (tmp_path / "fail").touch()
        after = server.samples()
        failed = serve.wait_for("a collector of the application failed")

    assert during["anyio_mio_http_requests_total"] == before["anyio_mio_http_requests_total"] == 3
    assert after["anyio_mio_http_requests_total"] == 4
    assert "orders_total" not in after
    assert "this collector fails" in failed["exception"]


@pytest.mark.slow
def test_it_is_not_ready_while_it_starts_and_stops_and_ready_while_it_reloads(
    application: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "wait").touch()
    with serving("user_module:app", *ANY_PORT, *METRICS, **application) as serve:
        server = Server(serve)
        until(lambda: server.get("/readyz") == (503, b"not ready: worker 1 is starting\n"))
        assert server.get("/healthz") == (200, b"ok\n")
        (tmp_path / "wait").unlink()
        until(server.is_ready)

        (tmp_path / "wait").touch()
        serve.send(signal.SIGHUP)
        serve.wait_for("reloading")
        assert all(server.is_ready() for _ in range(20))
        (tmp_path / "wait").unlink()
        serve.wait_for("reloaded")

        slow = in_a_thread(lambda: server.request("/slow"))
        until(lambda: server.samples().get("anyio_mio_http_requests_active"))
        serve.send(signal.SIGTERM)
        serve.wait_for("stopping")
        assert server.get("/readyz") == (503, b"not ready: the server stops\n")
        assert server.get("/healthz")[0] == 200
        slow.join(LIMIT)
        assert serve.status() == 0


@pytest.mark.slow
def test_a_handler_of_streams_has_metrics_and_health_alone_needs_no_package(
    tmp_path: Path,
) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ImportError")
    hidden = {"env": {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}}
    with serving("echo", *ANY_PORT, *METRICS) as serve:
        server = Server(serve)
        until(server.is_ready)
        ping(server.port)
        until(lambda: server.samples().get("anyio_mio_connections_accepted_total") == 1)
    with serving("echo", *ANY_PORT, "--health", "127.0.0.1:0", **hidden) as serve:
        server.management = address_of(serve.wait_for("health"))
        until(server.is_ready)
        status, text = server.get("/metrics")
    assert (status, text) == (404, b"no such page; there are: /healthz /readyz\n")


@pytest.mark.slow
def test_clients_of_the_management_address_that_misbehave_get_short_answers() -> None:
    with serving("echo", *ANY_PORT, "--health", "127.0.0.1:0") as serve:
        port = address_of(serve.wait_for("health"))
        answers = [
            exchange(port, request)
            for request in (
                b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                b"HEAD /healthz?x HTTP/1.1\r\nHost: a\r\n\r\n",
                b"nonsense\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000,
            )
        ]

    assert answers[0].startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert b"content-length: 3\r\n" in answers[1]
    assert answers[1].endswith(b"\r\n\r\n")
    assert answers[2:] == [b"", b""]


def exchange(port: int, request: bytes) -> bytes:
    """What comes back until the end; a reset is an end."""
    with connect(port) as client, client.makefile("rb") as answer:
        client.sendall(request)
        try:
            return answer.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("option", ["--metrics", "--health"])
@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", ":x", ""])
def test_an_address_that_is_none_is_refused_with_the_right_form(option: str, address: str) -> None:
    result = CliRunner().invoke(group, ["serve", "echo", option, address])

    assert result.exit_code == 2
    assert "is not an address" in result.output


def test_without_the_package_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observing_options, "find_spec", lambda name: None)
    result = CliRunner().invoke(group, ["serve", "echo", "--metrics", "127.0.0.1:0"])

    assert result.exit_code == 2
    assert "pip install 'anyio-mio[prometheus]'" in result.output


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line_and_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving("echo", *ANY_PORT, "--metrics", address) as serve:
            assert serve.status() == 1
            line = serve.wait_for("cannot serve")
    assert line["error"].startswith(f"cannot listen on {address}: Address already in use by ")


def test_sums_keep_what_only_grows_and_leave_out_the_rest() -> None:
    sums = MetricSums()
    one = ["jobs", "counter", "Jobs.", [["jobs_total", {"kind": "a"}, 2.0]]]
    sums.add([one, ["length", "gauge", "Length.", [["length", {}, 5.0]]]])
    sums.add([["jobs", "counter", "Jobs.", [["jobs_total", {"kind": k}, 1.0] for k in "ab"]]])

    samples = [["jobs_total", {"kind": "a"}, 3.0], ["jobs_total", {"kind": "b"}, 1.0]]
    assert json.loads(json.dumps(sums.families())) == [["jobs", "counter", "Jobs.", samples]]
