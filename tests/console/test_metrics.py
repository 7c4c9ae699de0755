"""The collectors of `anyio_mio.metrics`, read by Prometheus' own parser."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from functools import partial

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import anyio_mio
from anyio_mio.asgi import RequestStatistics
from anyio_mio.metrics import RequestCollector, RunCollector

Key = tuple[str, tuple[tuple[str, str], ...]]


def samples(registry: CollectorRegistry) -> dict[Key, float]:
    """What a registry exposes, by name and labels."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(found: dict[Key, float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(RunCollector())
    return registry


def test_a_run_is_asked_from_its_own_thread_and_from_another_one(
    registry: CollectorRegistry,
) -> None:
    async def main() -> tuple[dict[Key, float], dict[Key, float]]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, talk)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with await anyio.connect_tcp("127.0.0.1", port) as client:
                await client.receive()
                inside = samples(registry)
                outside = await anyio.to_thread.run_sync(samples, registry)
            group.cancel_scope.cancel()
        return inside, outside

    async def talk(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(b"hello")
            await anyio.sleep_forever()

    for found in anyio_mio.run(main):
        ((_, labels),) = [key for key in found if key[0] == "anyio_mio_connections_open"]
        assert labels[0][1].startswith("TCP 127.0.0.1:")
        assert value(found, "anyio_mio_connections_accepted_total", **dict(labels)) == 1
        assert value(found, "anyio_mio_connections_open", **dict(labels)) == 1
        assert value(found, "anyio_mio_tasks") >= 2
        assert value(found, "anyio_mio_slow_steps_total") == 0
        assert value(found, "anyio_mio_polls_total") >= 1


NOT_BASE_UNITS = re.compile("_(ms|milliseconds|minutes|hours|kib|kb|mib|mb|percent)(_|$)")


def test_names_and_texts_follow_the_conventions_of_prometheus() -> None:
    registry = CollectorRegistry()
    registry.register(RunCollector())
    registry.register(RequestCollector(statistics_of_requests()))

    lines = generate_latest(registry).decode().splitlines()
    types = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    texts = dict(line.split(maxsplit=3)[2:] for line in lines if line.startswith("# HELP"))

    assert types.keys() == texts.keys()
    for name, kind in types.items():
        assert re.fullmatch("anyio_mio_[a-z][a-z_]*[a-z]", name)
        assert not NOT_BASE_UNITS.search(name)
        assert name.endswith("_total") == (kind == "counter")
        assert name.endswith("_seconds") == ("Seconds" in texts[name])
        assert texts[name].endswith(".")
    for key in samples(registry):
        assert {label for label, _ in key[1]} <= {"address", "method", "status", "le"}


def statistics_of_requests() -> RequestStatistics:
    statistics = RequestStatistics()
    statistics.begin(is_websocket=False)
    statistics.end("GET", 200, 0.1, is_websocket=False)
    statistics.refused[400] += 1
    return statistics


def test_clients_cannot_make_more_series() -> None:
    statistics = RequestStatistics()
    for number in range(1000):
        statistics.begin(is_websocket=False)
        statistics.end(f"METHOD{number}", 200, 0.1, is_websocket=False)

    assert dict(statistics.answers) == {("other", 200): 1000}


def test_a_run_that_is_stuck_is_seen_from_outside_and_its_lag_says_so(
    registry: CollectorRegistry,
) -> None:
    found: list[dict[Key, float]] = []

    async def main() -> None:
        reader = threading.Thread(target=lambda: found.append(samples(registry)))
        reader.start()
        time.sleep(0.8)  # noqa: ASYNC251 - this is what the test is about
        reader.join()

    anyio_mio.run(main)
    assert value(found[0], "anyio_mio_loop_lag_seconds") >= 0.2
    assert value(found[0], "anyio_mio_tasks") >= 1


def test_without_a_run_the_figures_are_zero(registry: CollectorRegistry) -> None:
    assert value(samples(registry), "anyio_mio_tasks") == 0


def test_requests_are_shown_by_status_with_a_histogram_of_their_durations() -> None:
    statistics = RequestStatistics()
    for method, status, seconds in (("GET", 200, 0.003), ("GET", 0, 60.0), ("PRI", 404, 0.0005)):
        statistics.begin(is_websocket=False)
        statistics.end(method, status, seconds, is_websocket=False)
    statistics.begin(is_websocket=False)
    statistics.begin(is_websocket=True)
    statistics.refused[431] += 1
    registry = CollectorRegistry()
    registry.register(RequestCollector(statistics))
    found = samples(registry)
    of = partial(value, found)

    assert of("anyio_mio_http_requests_total", method="GET", status="200") == 1
    assert of("anyio_mio_http_requests_total", method="GET", status="none") == 1
    assert of("anyio_mio_http_requests_total", method="other", status="404") == 1
    assert of("anyio_mio_http_requests_active") == 1
    assert of("anyio_mio_websockets_open") == 1
    assert of("anyio_mio_http_refused_total", status="431") == 1
    assert of("anyio_mio_http_request_duration_seconds_bucket", le="0.0005") == 1
    assert of("anyio_mio_http_request_duration_seconds_bucket", le="0.005") == 2
    assert of("anyio_mio_http_request_duration_seconds_bucket", le="30.0") == 2
    assert of("anyio_mio_http_request_duration_seconds_count") == 3
    assert of("anyio_mio_http_request_duration_seconds_sum") == pytest.approx(60.0035)


def test_without_the_package_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['prometheus_client.core'] = None\n"
        "import anyio_mio\n"
        "try:\n    import anyio_mio.metrics\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "right: pip install 'anyio-mio[prometheus]'" in done.stdout
