"""`anyio-mio serve` tells what its target is, and serves it by workers."""

from __future__ import annotations

import http.client
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from anyio_mio._supervisor.file_watch import times_below
from tests.supervisor.command import Serve, port_of, serving

MODULE = "tests.asgi.command_apps"


def get(port: int, path: str = "/") -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    assert answer.status == 200, (answer.status, body)
    return body


def ready(serve: Serve) -> int:
    port = port_of(serve)
    serve.wait_for("worker ready")
    return port


@pytest.mark.parametrize(
    "name, options, kind",
    [
        ("starlette", (), "ASGI application"),
        ("plain", (), "ASGI application"),
        ("make", ("--factory",), "ASGI application"),
        ("any_number", ("--asgi",), "ASGI application"),
        ("wsgi", (), "WSGI application"),
    ],
)
def test_an_application_is_told_by_its_arguments(
    name: str, options: tuple[str, ...], kind: str
) -> None:
    with serving(f"{MODULE}:{name}", "--bind", "127.0.0.1:0", *options) as serve:
        port = port_of(serve)
        assert serve.wait_for("worker ready")["serves"] == kind
        assert get(port)
        serve.send(signal.SIGTERM)
        assert serve.status() == 0


@pytest.mark.parametrize("name, options", [("handler", ()), ("any_number", ("--raw",))])
def test_a_handler_of_streams_is_told_by_its_arguments(name: str, options: tuple[str, ...]) -> None:
    with serving(f"{MODULE}:{name}", "--bind", "127.0.0.1:0", *options) as serve:
        port_of(serve)
        assert serve.wait_for("worker ready")["serves"] == "stream handler"


def test_a_lifespan_that_fails_is_one_line_and_a_traceback_that_can_be_read() -> None:
    with serving(f"{MODULE}:fails_in_lifespan", "--bind", "127.0.0.1:0") as serve:
        error = serve.wait_for("cannot serve")["error"]
        [record] = [
            each for each in serve.seen if each.get("level") == "error" and "error" not in each
        ]
        assert '\n  File "' in record["event"]
        assert error.endswith(" failed to start: LookupError: no such database")
        assert serve.status() == 1


@pytest.mark.parametrize(
    "name, reason",
    [
        ("make", "takes no arguments; right: anyio-mio serve"),
        ("two", "cannot be called with a stream"),
        ("text", "is 'no application', which cannot be called"),
        ("fails_to_start", "fails_to_start failed to start: no database"),
        ("no_application", "is not an async function"),
        ("missing", "has no 'missing'"),
    ],
)
def test_what_cannot_be_served_ends_the_command_with_the_reason(name: str, reason: str) -> None:
    with serving(f"{MODULE}:{name}", "--bind", "127.0.0.1:0") as serve:
        assert reason in serve.wait_for("cannot serve")["error"]
        assert serve.status() == 1


def test_an_application_that_raises_at_startup_ends_the_command_if_lifespan_is_on() -> None:
    options = ("--bind", "127.0.0.1:0", "--lifespan", "on")
    with serving(f"{MODULE}:raises_at_startup", *options) as serve:
        said = serve.wait_for("cannot serve")["error"]
        assert "raises_at_startup ended before it sent 'lifespan.startup.complete'" in said
        assert "LookupError: no such database (" in said
        assert serve.status() == 1


def test_sigterm_finishes_requests_closes_idle_connections_and_shuts_down() -> None:
    with serving(f"{MODULE}:slow", "--bind", "127.0.0.1:0") as serve:
        port = ready(serve)
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        idle.request("GET", "/")
        assert idle.getresponse().read()
        busy = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        busy.request("GET", "/")
        time.sleep(0.2)
        serve.send(signal.SIGTERM)
        assert idle.sock.recv(100) == b""
        assert select.select([busy.sock], [], [], 0)[0] == []  # the answer has not come yet
        answer = busy.getresponse()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert answer.read()
        assert serve.status() == 0
        assert "shut down" in [line["event"] for line in serve.rest()]
        idle.close()
        busy.close()


def test_an_application_that_hangs_at_shutdown_is_named_and_ends_in_time() -> None:
    options = ("--bind", "127.0.0.1:0", "--grace", "0.5")
    with serving(f"{MODULE}:hangs_at_shutdown", *options) as serve:
        assert get(ready(serve))
        serve.send(signal.SIGTERM)
        assert serve.status() == 0
        said = [line["event"] for line in serve.rest() if line.get("level") == "error"]
        assert said == [f"{MODULE}.hangs_at_shutdown did not answer 'lifespan.shutdown' within 3 s"]


@pytest.mark.parametrize(
    "path, text",
    [
        ("order", "wrong sent 'http.response.body' before 'http.response.start'"),
        ("types", "wrong sent 'http.response.start': the headers are [('name', 'value')]"),
        ("protocol", "wrong sent 'websocket.accept' , which is not an event of HTTP"),
        ("late", "wrong sent 'http.response.body' after the last piece of the body"),
    ],
)
def test_a_wrong_event_is_one_error_in_the_log(path: str, text: str) -> None:
    with serving(f"{MODULE}:wrong", "--bind", "127.0.0.1:0") as serve:
        port = ready(serve)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (
            (200, b"x") if path == "late" else (500, b"Internal Server Error")
        )
        connection.close()
        line = serve.wait_for(f"{MODULE}.wrong failed at GET /{path}")
        assert line["level"] == "error"
        assert f"ApplicationError: {MODULE}.{text}" in line["exception"]
        assert get(port, "/right") == "x"
        serve.send(signal.SIGTERM)
        assert serve.status() == 0
        assert [each for each in serve.rest() if each.get("level") == "error"] == []


@pytest.mark.parametrize("package", ["httptools", "websockets", "a2wsgi"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    package: str, tmp_path: Path
) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ImportError('none', name={package!r})")
    (tmp_path / "sitecustomize.py").write_text(HIDES.format(package))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])}
    target = "wsgi" if package == "a2wsgi" else "plain"
    with serving(f"{MODULE}:{target}", "--bind", "127.0.0.1:0", env=environment) as serve:
        said = serve.wait_for("cannot serve")["error"]
        assert package in said
        asgi = "'anyio-mio[asgi]', or '.[asgi]' in a checkout"
        right = "a2wsgi" if package == "a2wsgi" else asgi
        assert said.endswith(f"right: pip install {right}")
        assert serve.status() == 1


HIDES = """
import importlib.util

find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == {!r} else find_spec(name, *more)
"""


def test_options_for_http_reach_the_application(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# comment\n\nexport FROM_FILE='a value'\n")
    options = (
        "--header", "x-name: value", "--no-server-header", "--access-log", "--root-path", "/api",
        "--env-file", str(tmp_path / "env"),
    )  # fmt: skip
    with serving(
        f"{MODULE}:starlette", "--bind", "127.0.0.1:0", *options, stdout=subprocess.PIPE
    ) as serve:
        port = ready(serve)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.read().decode().endswith(" a value")
        assert answer.headers["x-name"] == "value"
        assert answer.headers["server"] is None
        connection.close()
        serve.send(signal.SIGTERM)
        assert serve.status() == 0
        assert serve.process.stdout is not None
        assert '"target": "/"' in serve.process.stdout.read()


def test_an_application_that_configures_the_access_log_gets_each_line_once(tmp_path: Path) -> None:
    (tmp_path / "configured.py").write_text(
        f"import logging\nfrom {MODULE} import starlette as app\n"
        f"handler = logging.FileHandler({str(tmp_path / 'access.log')!r})\n"
        "logging.getLogger('anyio_mio.access').addHandler(handler)\n"
    )
    options = ("--bind", "127.0.0.1:0", "--app-dir", str(tmp_path), "--access-log")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with serving("configured:app", *options, env=environment, stdout=subprocess.PIPE) as serve:
        get(ready(serve))
        serve.send(signal.SIGTERM)
        assert serve.status() == 0
        assert serve.process.stdout is not None
        assert serve.process.stdout.read() == ""
    assert (tmp_path / "access.log").read_text().count('"target": "/"') == 1


def test_the_application_may_be_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text(f"from {MODULE} import starlette as app")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with serving(
        "elsewhere:app", "--bind", "127.0.0.1:0", "--app-dir", str(tmp_path), env=environment
    ) as serve:
        assert get(ready(serve))


@pytest.mark.parametrize(
    "options, reason",
    [
        (("--header", "nonsense"), "--header 'nonsense' is no field"),
        (("--lifespan", "maybe"), "'maybe' is not one of"),
        (("--keep-alive", "0"), "0.0 is not in the range"),
    ],
)
def test_an_option_that_is_wrong_is_refused(options: tuple[str, ...], reason: str) -> None:
    command = [sys.executable, "-m", "anyio_mio", "serve", f"{MODULE}:starlette", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert reason in done.stderr


def test_a_reload_under_load_fails_no_request() -> None:
    counts = {"answered": 0}
    pids: set[str] = set()
    failures: list[object] = []
    over = threading.Event()

    def ask(port: int) -> None:
        while not over.is_set():
            try:
                pids.add(get(port).split()[0])
                counts["answered"] += 1
            except Exception as error:  # noqa: BLE001 - each one is a failure
                failures.append(error)

    options = ("--bind", "127.0.0.1:0", "--workers", "2")
    with serving(f"{MODULE}:starlette", *options) as serve:
        port = port_of(serve)
        serve.wait_for("worker ready", 2)
        threads = [threading.Thread(target=ask, args=(port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        serve.send(signal.SIGHUP)
        serve.wait_for("reloaded")
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert counts["answered"] > 10
    assert len(pids) >= 3


def test_a_worker_is_replaced_after_so_many_requests() -> None:
    options = ("--max-requests", "3", "--recycle-jitter", "0", "--bind", "127.0.0.1:0")
    with serving(f"{MODULE}:starlette", *options) as serve:
        port = ready(serve)
        first = [get(port) for _ in range(3)]
        serve.wait_for("worker ready")
        end = time.monotonic() + 10
        while (last := get(port)) == first[0]:
            assert time.monotonic() < end
    assert last != first[0]


def test_a_changed_file_reloads(tmp_path: Path) -> None:
    path = tmp_path / "changing.py"
    path.write_text(PROGRAM.format("before"))
    with serving("changing:app", "--reload", "--bind", "127.0.0.1:0", cwd=tmp_path) as serve:
        port = ready(serve)
        assert get(port) == "before"
        time.sleep(0.6)
        path.write_text(PROGRAM.format("after, and longer"))
        serve.wait_for("reloaded")
        assert get(port) == "after, and longer"


PROGRAM = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200}})
        await send({{"type": "http.response.body", "body": b"{}"}})
"""


def test_changed_and_new_files_are_seen_without_watchfiles(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "ignored.py").touch()
    (tmp_path / "one.py").touch()
    before = times_below(tmp_path)
    assert list(before) == [str(tmp_path / "one.py")]
    os.utime(tmp_path / "one.py", ns=(1, 1))
    assert times_below(tmp_path) != before
