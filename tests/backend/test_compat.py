"""What is patched, what is left alone, and that libraries keep their own answers elsewhere."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import anyio
import pytest
import sniffio

import anyio_mio
from anyio_mio._backend import compat

CORES = ["httpcore", "httpcore2"]

compat.install()  # as the first run does


@pytest.fixture(params=list(compat.PATCHES.values()), ids=list(compat.PATCHES))
def patch(request: pytest.FixtureRequest) -> compat.Patch:
    found: compat.Patch = request.param
    return found


def test_each_module_of_the_table_is_patched_in_its_tested_version(patch: compat.Patch) -> None:
    module = pytest.importorskip(patch.module)

    assert hasattr(getattr(module, patch.name), compat.ORIGINAL)


def test_a_function_with_other_parameters_is_left_alone_with_a_warning(patch: compat.Patch) -> None:
    module = ModuleType(patch.module)

    def newer(*, one: int, two: int, three: int) -> None: ...

    setattr(module, patch.name, newer)

    with pytest.warns(RuntimeWarning, match="does not know this version") as warned:
        compat.apply(patch, module)

    assert getattr(module, patch.name) is newer
    assert patch.reason in str(warned[0].message)


def test_a_function_that_is_gone_is_told_and_not_made_up(patch: compat.Patch) -> None:
    module = ModuleType(patch.module)

    with pytest.warns(RuntimeWarning, match="does not know this version"):
        compat.apply(patch, module)

    assert not hasattr(module, patch.name)


def changed(real: ModuleType, class_name: str, source: str) -> ModuleType:
    """A copy of a module in which one class is another one."""
    module = ModuleType(real.__name__)
    module.__dict__.update({key: value for key, value in vars(real).items() if key[:2] != "__"})
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    setattr(module, class_name, namespace[class_name])
    return module


NATIVE_CONNECTIONS = """
class AutoBackend:
    async def _init_backend(self):
        if current_async_library() == "trio":
            self._backend = TrioBackend()
        elif running_asyncio():
            self._backend = AsyncIOBackend()
        else:
            self._backend = AnyIOBackend()
"""

NATIVE_LOCKS = """
class AsyncLock:
    def setup(self):
        if current_async_library() == "trio":
            self._trio_lock = trio.Lock()
        else:
            self._lock = asyncio.Lock()
"""


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    "module, class_name, source",
    [
        ("_backends.auto", "AutoBackend", NATIVE_CONNECTIONS),
        ("_synchronization", "AsyncLock", NATIVE_LOCKS),
    ],
)
def test_mio_does_not_pass_for_asyncio_where_that_no_longer_leads_to_anyio(
    core: str, module: str, class_name: str, source: str
) -> None:
    name = f"{core}.{module}"
    copy = changed(pytest.importorskip(name), class_name, source)

    with pytest.warns(RuntimeWarning, match="does not know this version"):
        compat.apply(compat.PATCHES[name], copy)

    assert not hasattr(vars(copy)["current_async_library"], compat.ORIGINAL)


@pytest.mark.parametrize("core", CORES)
def test_outside_a_run_the_library_answers_for_itself(core: str) -> None:
    synchronization = pytest.importorskip(f"{core}._synchronization")

    with pytest.raises(sniffio.AsyncLibraryNotFoundError):
        synchronization.current_async_library()


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_on_other_backends_the_library_answers_for_itself(core: str, backend: str) -> None:
    synchronization = pytest.importorskip(f"{core}._synchronization")

    async def ask() -> object:
        return synchronization.current_async_library()

    assert anyio.run(ask, backend=backend) == backend


def test_a_thread_that_mio_started_is_not_taken_for_mio() -> None:
    synchronization = pytest.importorskip("httpcore._synchronization")

    def ask() -> object:
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            synchronization.current_async_library()
        return "asked"

    assert anyio_mio.run(anyio.to_thread.run_sync, ask) == "asked"


def test_a_module_that_is_loaded_again_is_patched_again() -> None:
    module = pytest.importorskip("httpcore._synchronization")

    importlib.reload(module)

    answer = module.current_async_library
    assert hasattr(answer, compat.ORIGINAL)
    assert not hasattr(getattr(answer, compat.ORIGINAL), compat.ORIGINAL)
