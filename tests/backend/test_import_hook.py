"""Modules that are watched: whatever the order of imports, and as if nobody watched them."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from anyio_mio._backend import import_hook

NAME = "a_watched_module"
SOURCE = "value = 1\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that can be imported and was not yet."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(import_hook.finder, "callbacks", dict(import_hook.finder.callbacks))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"{NAME}.py").write_text(SOURCE)
    yield NAME
    sys.modules.pop(NAME, None)


def double(module: ModuleType) -> None:
    vars(module)["value"] *= 2


def test_the_callback_is_called_when_the_module_has_run(module: str) -> None:
    import_hook.watch(module, double)

    assert vars(importlib.import_module(module))["value"] == 2


def test_a_module_that_is_loaded_is_told_at_once(module: str) -> None:
    loaded = importlib.import_module(module)

    import_hook.watch(module, double)

    assert vars(loaded)["value"] == 2


def test_a_module_that_is_loaded_again_is_told_again(module: str) -> None:
    import_hook.watch(module, double)

    loaded = importlib.reload(importlib.import_module(module))

    assert vars(loaded)["value"] == 2


def test_the_loader_that_is_found_does_all_that_the_modules_own_does(module: str) -> None:
    import_hook.watch(module, double)

    spec = importlib.util.find_spec(module)

    assert spec is not None
    loader = spec.loader
    assert isinstance(loader, import_hook.WatchingLoader)
    assert loader.get_source(module) == SOURCE
    assert loader.is_package(module) is False
    assert not hasattr(loader, "no_such_thing")
    assert copy.copy(loader).get_source(module) == SOURCE


def test_a_module_that_has_run_has_its_own_loader(module: str) -> None:
    import_hook.watch(module, double)

    spec = importlib.import_module(module).__spec__

    assert spec is not None
    assert not isinstance(spec.loader, import_hook.WatchingLoader)


def test_the_finder_of_an_earlier_import_of_the_package_is_replaced(module: str) -> None:
    def earlier() -> object:
        code = Path(import_hook.__file__).read_text()
        namespace = {"__name__": import_hook.__name__}
        exec(code, namespace)
        return namespace["finder"]

    stale = earlier()
    sys.meta_path.insert(0, stale)  # type: ignore[arg-type]
    sys.meta_path.remove(import_hook.finder)

    import_hook.watch(module, double)

    assert stale not in sys.meta_path
    assert sys.meta_path.count(import_hook.finder) == 1


def test_two_finders_do_not_ask_each_other_for_ever(module: str) -> None:
    import_hook.watch(module, double)
    another = import_hook.Finder()
    another.callbacks[module] = double
    sys.meta_path.insert(0, another)

    assert vars(importlib.import_module(module))["value"] == 4


def test_a_module_that_nobody_has_is_not_found(module: str) -> None:
    import_hook.watch("no_such_module_at_all", double)

    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_at_all")


def printed(program: str) -> str:
    """What a program prints, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout


def test_importing_mio_changes_nothing_and_imports_none_of_the_libraries() -> None:
    libraries = "{'httpx', 'httpcore', 'httpx2', 'asyncer', 'stamina', 'litestar', 'asyncio'}"
    program = f"""
        import sys
        before = list(sys.meta_path)
        import anyio_mio
        print(before == sys.meta_path, {libraries} & set(sys.modules))
    """

    assert printed(program) == "True set()\n"


def test_the_package_can_be_imported_a_second_time() -> None:
    pytest.importorskip("httpx")
    program = """
        import sys, anyio
        for _ in range(2):
            for name in [name for name in sys.modules if name.partition(".")[0] == "anyio_mio"]:
                del sys.modules[name]
            import anyio_mio
            anyio_mio.run(anyio.sleep, 0)
        import httpx

        async def main():
            async with httpx.AsyncClient() as client:
                try:
                    await client.get("http://127.0.0.1:1/")
                except httpx.ConnectError:
                    print("refused by the network")

        anyio_mio.run(main)
    """

    assert printed(program) == "refused by the network\n"
