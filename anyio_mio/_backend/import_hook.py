"""Callbacks that are called when a module is imported.

Facts. A library may be imported before the first run, during it, or after it. If we imported it
ourselves, every program would pay for a library that few programs use.

Decision. `watch()` names a module and a function. If the module is loaded, the function is called
at once; if it is imported later, the function is called when the module's own loader has run it,
again at each reload. A finder at the front of `sys.meta_path` does this: it asks the finders after
it, and wraps their loader in one that otherwise behaves in the same way.

Consequences. The finder asks only the finders after it, so two of them cannot ask each other for
ever. A finder of an earlier import of this package is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, final

if TYPE_CHECKING:  # only: importing it takes 25 other modules along, for 12 ms
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

Callback: TypeAlias = Callable[[ModuleType], None]


def watch(name: str, callback: Callback) -> None:
    """Call ``callback(module)`` when a module is imported; now, if it is loaded already.

    Args:
        name: the module's full name. A second call for it replaces the first.
        callback: called with the module. The import raises its errors.
    """
    finder.callbacks[name] = callback
    if finder not in sys.meta_path:
        sys.meta_path[:] = [finder, *(each for each in sys.meta_path if not is_ours(each))]
    module = sys.modules.get(name)
    if module is not None:
        callback(module)


def is_ours(finder: object) -> bool:
    """Return whether this is our finder, or that of another copy of this package."""
    kind = type(finder)
    return (kind.__module__, kind.__qualname__) == (Finder.__module__, Finder.__qualname__)


@final
class Finder:
    """A `MetaPathFinder` that finds exactly the modules that are watched.

    Attributes:
        callbacks: for each name of a module, the function to call when the module has run.
    """

    def __init__(self) -> None:
        self.callbacks: dict[str, Callback] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the finders behind this one find, with our loader; None for other modules."""
        callback = self.callbacks.get(fullname)
        if callback is None:
            return None
        for finder in self._finders_behind():
            spec: ModuleSpec | None = finder.find_spec(fullname, path, target)
            if spec is None:
                continue
            if hasattr(spec.loader, "exec_module"):
                spec.loader = cast("Loader", WatchingLoader(spec.loader, callback))
            return spec
        return None

    def _finders_behind(self) -> Iterator[Any]:
        finders = list(sys.meta_path)
        start = finders.index(self) + 1 if self in finders else 0
        return (each for each in finders[start:] if hasattr(each, "find_spec"))


@final
class WatchingLoader:
    """A `Loader` that runs the module by its own loader, then calls the callback.

    Everything else that a loader may have (`get_source`, `get_code`, resources) is that of the
    module's own loader.
    """

    def __init__(self, loader: Any, callback: Callback) -> None:
        self._loader = loader
        self._callback = callback

    def __getattr__(self, name: str) -> Any:
        if name in ("_loader", "_callback"):  # not set yet, as when this is copied
            raise AttributeError(name)
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        """See `Loader`; the module gets its own loader back, so that `inspect` finds its source."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._callback(module)


finder: Final = Finder()
