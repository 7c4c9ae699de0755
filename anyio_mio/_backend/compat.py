"""Libraries that know only two names: asyncio and trio.

Facts. httpcore and httpcore2 refuse to run when sniffio answers anything else, although all that
they do under the name asyncio is call AnyIO. The ASGI transports of httpx and httpx2 make an
``asyncio.Event`` unless the name is trio.

Decision. Exactly these functions are taught the name when their modules are imported, before or
after this package: while mio runs in the calling thread the answer is the one that leads to AnyIO,
otherwise the library's own function answers. Nothing is imported for that, and a module that no
longer looks as expected is left alone with a warning. ``ANYIO_MIO_COMPAT=0`` turns it all off. The
same changes for the libraries themselves are in docs/upstream/.

Cost. Four names of other projects' private modules, in the one table below.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, TypeAlias, final

import anyio

from anyio_mio._kernel.running import running

Function: TypeAlias = Callable[[], Any]

SWITCH: Final = "ANYIO_MIO_COMPAT"


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


@dataclass(frozen=True, slots=True)
class Patch:
    """One function of one module.

    Attributes:
        module: the module's full name.
        function: the name of a function without parameters.
        replace: makes the new function from the old one.
        copies: modules that may have imported the function already.
        tested: the versions that were tried.
    """

    module: str
    function: str
    replace: Callable[[Function], Function]
    copies: tuple[str, ...]
    tested: str


PATCHES: Final = {
    patch.module: patch
    for patch in (
        Patch(
            "httpcore._synchronization",
            "current_async_library",
            asyncio_while_mio_runs,
            ("httpcore._backends.auto",),
            "1.0.9",
        ),
        Patch(
            "httpcore2._synchronization",
            "current_async_library",
            asyncio_while_mio_runs,
            ("httpcore2._backends.auto",),
            "2.16.2",
        ),
        Patch("httpx._transports.asgi", "create_event", anyio_event_while_mio_runs, (), "0.28.1"),
        Patch("httpx2._transports.asgi", "create_event", anyio_event_while_mio_runs, (), "2.16.2"),
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
    """Replace the function in its module, and in those that hold a copy of it."""
    original: Any = getattr(module, patch.function, None)
    if not looks_as_expected(original):
        warnings.warn(
            f"anyio_mio does not know this version of {patch.module} (tested: {patch.tested}) and "
            "left it alone; it may refuse to run on the mio backend.\n"
            f"  right: upgrade anyio-mio, or set {SWITCH}=0 to silence this",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    replacement = patch.replace(original)
    setattr(module, patch.function, replacement)
    for name in patch.copies:
        copy = sys.modules.get(name)
        if copy is not None and getattr(copy, patch.function, None) is original:
            setattr(copy, patch.function, replacement)


def looks_as_expected(function: object) -> bool:
    """Whether it is a plain function that is called without arguments."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_argcount == 0 and code.co_kwonlyargcount == 0


@final
class Finder(MetaPathFinder):
    """Finds exactly the modules of the table, through the other finders, and patches them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder`; None for every other module."""
        patch = PATCHES.get(fullname)
        if patch is None:
            return None
        for finder in sys.meta_path:
            if isinstance(finder, Finder) or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = PatchingLoader(spec.loader, patch)
                return spec
        return None


@final
class PatchingLoader(Loader):
    """Runs the module's own loader, then the patch."""

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
