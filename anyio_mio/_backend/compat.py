"""Libraries that know only two names: asyncio and trio.

Facts. httpcore and httpcore2 refuse to run when sniffio answers anything else, although all that
they do under the name asyncio is call AnyIO. The ASGI transports of httpx and httpx2 make an
``asyncio.Event`` unless the name is trio. asyncer looks for the task group in a private module of
AnyIO that is named after the backend.

Decision. Exactly these functions are taught the name when their modules are imported, before or
after this package: while mio runs in the calling thread the answer is the one that leads to AnyIO,
otherwise the library's own function answers. Nothing is imported for that. A module whose code no
longer shows what the answer relies on is left alone, with a warning: a httpcore2 whose asyncio
backend does not go through AnyIO must not be sent there. ``ANYIO_MIO_COMPAT=0`` turns it all off.
The same changes for the libraries themselves are in docs/upstream/.

Cost. A few names of other projects' private modules, in the one table below.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, final

import anyio

from anyio_mio._backend import tasks
from anyio_mio._kernel.running import running

if TYPE_CHECKING:  # only: importing it takes 25 other modules along, for 12 ms
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

Function: TypeAlias = Callable[..., Any]

SWITCH: Final = "ANYIO_MIO_COMPAT"

ORIGINAL: Final = "original_of_anyio_mio"
"""The attribute of a replacement that holds the library's own function."""


def asyncio_while_mio_runs(original: Function) -> Function:
    """A ``current_async_library()`` that lets mio pass for asyncio."""

    def current_async_library() -> Any:
        return original() if running.kernel is None else "asyncio"

    return current_async_library


def anyio_event_while_mio_runs(original: Function) -> Function:
    """A ``create_event()`` that makes AnyIO's event while mio runs."""

    def create_event() -> Any:
        return original() if running.kernel is None else anyio.Event()

    return create_event


def task_group_while_mio_runs(original: Function) -> Function:
    """A ``get_asynclib()`` that finds mio's task group while mio runs."""

    def get_asynclib(asynclib_name: str | None = None) -> Any:
        if running.kernel is not None and asynclib_name in (None, "mio"):
            return tasks
        return original(asynclib_name)

    return get_asynclib


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One function of one module.

    Attributes:
        module: the module's full name.
        function: the name of the function that is replaced.
        parameters: how many it takes.
        replace: makes the new function from the old one.
        reason: what happens without it.
        tested: the versions that were tried.
        evidence: the function that shows what the answer leads to.
        mentions: a name that its code must have.
        avoids: what no name of its code may contain, in lower case; empty for nothing.
    """

    module: str
    function: str
    parameters: int = 0
    replace: Callable[[Function], Function]
    reason: str
    tested: str
    evidence: str
    mentions: str
    avoids: str = ""


def patches_of_httpcore(package: str, tested: str) -> tuple[Patch, Patch]:
    """The function that refuses, where it is defined and where it was imported to."""
    locks = Patch(
        module=f"{package}._synchronization",
        function="current_async_library",
        replace=asyncio_while_mio_runs,
        reason="locks and events refuse any name but asyncio and trio",
        tested=tested,
        evidence="AsyncLock.setup",
        mentions="anyio",
        avoids="asyncio",
    )
    connections = Patch(
        module=f"{package}._backends.auto",
        function="current_async_library",
        replace=asyncio_while_mio_runs,
        reason="connecting refuses any name but asyncio and trio",
        tested=tested,
        evidence="AutoBackend._init_backend",
        mentions="AnyIOBackend",
        avoids="asyncio",
    )
    return locks, connections


def patch_of_asgi_transport(package: str, tested: str) -> Patch:
    """The event that tells an application of the end of its request."""
    return Patch(
        module=f"{package}._transports.asgi",
        function="create_event",
        replace=anyio_event_while_mio_runs,
        reason="an asyncio.Event is made for any name but trio, and fails when it must wait",
        tested=tested,
        evidence="create_event",
        mentions="Event",
    )


PATCHES: Final = {
    patch.module: patch
    for patch in (
        *patches_of_httpcore("httpcore", "1.0.9"),
        *patches_of_httpcore("httpcore2", "2.16.2"),
        patch_of_asgi_transport("httpx", "0.28.1"),
        patch_of_asgi_transport("httpx2", "2.16.2"),
        Patch(
            module="asyncer._main",
            function="get_asynclib",
            parameters=1,
            replace=task_group_while_mio_runs,
            reason="the task group is looked for in anyio._backends, where only AnyIO's own are",
            tested="0.0.18",
            evidence="create_task_group",
            mentions="get_asynclib",
        ),
    )
}


def install() -> None:
    """Teach what is imported already, and what is imported later. A second call does nothing."""
    if os.environ.get(SWITCH) == "0" or any(isinstance(each, Finder) for each in sys.meta_path):
        return
    sys.meta_path.insert(0, Finder())
    for name, patch in PATCHES.items():
        module = sys.modules.get(name)
        if module is not None:
            apply(patch, module)


def apply(patch: Patch, module: ModuleType) -> None:
    """Replace the function in its module, or leave the module as it was made, with a warning."""
    # What was imported from a module that is patched already is put back to its own first.
    original = getattr(module, patch.function, None)
    original = getattr(original, ORIGINAL, original)
    if original is None or not looks_as_expected(patch, module, original):
        if original is not None:
            setattr(module, patch.function, original)
        warn_of(patch)
        return
    replacement = patch.replace(original)
    setattr(replacement, ORIGINAL, original)
    setattr(module, patch.function, replacement)


def warn_of(patch: Patch) -> None:
    """Say that a library may not run, and what to do."""
    warnings.warn(
        f"anyio_mio does not know this version of {patch.module} (tested: {patch.tested}) and left "
        f"it alone; it may not run on the mio backend ({patch.reason}).\n"
        f"  right: upgrade anyio-mio, or set {SWITCH}=0 to silence this",
        RuntimeWarning,
        stacklevel=3,
    )


def looks_as_expected(patch: Patch, module: ModuleType, original: object) -> bool:
    """Whether the function is called as it was, and the evidence still leads where it did."""
    code = code_of(original)
    if code is None or code.co_argcount != patch.parameters or code.co_kwonlyargcount:
        return False
    evidence: Any = module
    for name in patch.evidence.split("."):
        evidence = getattr(evidence, name, None)
    shown = code_of(getattr(evidence, ORIGINAL, evidence))
    if shown is None or patch.mentions not in shown.co_names:
        return False
    return not patch.avoids or not any(patch.avoids in name.lower() for name in shown.co_names)


def code_of(function: object) -> CodeType | None:
    """The code of a function that is written in Python."""
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None


@final
class Finder:
    """A `MetaPathFinder` that finds exactly the modules of the table, and patches them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find, with our loader around theirs; None for other modules."""
        patch = PATCHES.get(fullname)
        if patch is None:
            return None
        for finder in sys.meta_path:
            if isinstance(finder, Finder) or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = cast("Loader", PatchingLoader(spec.loader, patch))
                return spec
        return None


@final
class PatchingLoader:
    """A `Loader` that runs the module's own loader, then the patch."""

    def __init__(self, loader: Loader, patch: Patch) -> None:
        self._loader = loader
        self._patch = patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See `Loader`."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """See `Loader`; the module gets its own loader back, for whoever asks for its source."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        apply(self._patch, module)
