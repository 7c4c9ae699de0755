"""Libraries and parts of AnyIO that are more than sockets, each for what it is used for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from sniffio import current_async_library

import anyio_mio
from tests.programs.conftest import SECONDS

pytestmark = pytest.mark.anyio


async def greet(name: str) -> str:
    await anyio.lowlevel.checkpoint()
    return f"{name} on {current_async_library()}"


async def test_asyncers_tasks_keep_what_they_returned() -> None:
    asyncer = pytest.importorskip("asyncer", reason="asyncer is not installed")

    async with asyncer.create_task_group() as group:
        first = group.soonify(greet)("one")
        second = group.soonify(greet)(name="two")

    assert (first.value, second.value) == ("one on mio", "two on mio")


async def test_asyncer_goes_into_a_thread_and_back() -> None:
    asyncer = pytest.importorskip("asyncer", reason="asyncer is not installed")

    def blocking() -> Any:
        return asyncer.syncify(greet)("back")

    assert await asyncer.asyncify(blocking)() == "back on mio"


def test_asyncer_runs_a_function_on_mio() -> None:
    asyncer = pytest.importorskip("asyncer", reason="asyncer is not installed")

    assert asyncer.runnify(greet, backend="mio")("main") == "main on mio"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_asyncer_finds_the_task_groups_of_other_backends(backend: str) -> None:
    asyncer = pytest.importorskip("asyncer", reason="asyncer is not installed")

    async def main() -> Any:
        async with asyncer.create_task_group() as group:
            return group.soonify(greet)("main")

    assert anyio.run(main, backend=backend).value == f"main on {backend}"


async def test_anysqlite_keeps_what_many_tasks_write(tmp_path: Path) -> None:
    anysqlite = pytest.importorskip("anysqlite", reason="anysqlite is not installed")

    async with await anysqlite.connect(tmp_path / "database") as connection:
        await connection.execute("create table numbers (number)")
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(connection.execute, "insert into numbers values (?)", (number,))
        await connection.commit()
        cursor = await connection.execute("select count(*), sum(number) from numbers")
        row = await cursor.fetchone()

    assert row == (20, 190)


async def test_watchfiles_tells_of_a_change(tmp_path: Path) -> None:
    watchfiles = pytest.importorskip("watchfiles", reason="watchfiles is not installed")
    stop = anyio.Event()
    seen: set[Any] = set()

    async def write() -> None:
        number = 0
        while not seen:  # until the watcher is at work and has seen one of them
            number += 1
            await anyio.Path(tmp_path, "new").write_text(str(number))
            await anyio.sleep(0.02)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(write)
            async for changes in watchfiles.awatch(tmp_path, stop_event=stop, step=10):
                seen |= {Path(name).name for _, name in changes}
                stop.set()

    assert seen == {"new"}


async def test_fastapi_runs_both_kinds_of_functions() -> None:
    fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed")
    testclient = pytest.importorskip("fastapi.testclient")
    app = fastapi.FastAPI()

    async def in_the_loop() -> str:
        return current_async_library()

    def in_a_thread() -> str:
        return anyio.from_thread.run_sync(current_async_library)

    app.get("/async")(in_the_loop)
    app.get("/sync")(in_a_thread)

    with testclient.TestClient(app, backend="mio") as client:
        answers = [client.get(path).json() for path in ("/async", "/sync")]

    assert answers == ["mio", "mio"]


async def test_anyios_paths_and_files(tmp_path: Path) -> None:
    folder = anyio.Path(tmp_path)
    await (folder / "lines").write_text("one\ntwo\n")

    async with await (folder / "lines").open() as file:
        lines = [line async for line in file]
    names = [path.name async for path in folder.iterdir()]

    assert (lines, names) == (["one\n", "two\n"], ["lines"])


async def test_a_process_answers_and_tells_its_status() -> None:
    program = "import sys; print(sys.stdin.read().upper()); sys.exit(3)"

    done = await anyio.run_process([sys.executable, "-c", program], input=b"hello", check=False)

    assert (done.stdout, done.returncode) == (b"HELLO\n", 3)


def test_a_program_needs_one_import_and_one_name(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import anyio, anyio_mio, sniffio\n"
        "async def main():\n"
        "    print(sniffio.current_async_library())\n"
        "anyio.run(main, backend='mio')\n"
    )
    root = Path(anyio_mio.__file__).parents[1]

    done = subprocess.run(
        [sys.executable, program], env={"PYTHONPATH": str(root)}, capture_output=True, check=True
    )

    assert done.stdout == b"mio\n"
