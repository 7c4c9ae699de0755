"""Libraries that know only two names: asyncio and trio.

Facts. httpcore, httpcore2 and httpx-socks refuse to run if sniffio returns another name, although
under the name asyncio they only call AnyIO. asyncer looks for the task group in a private module of
AnyIO that is named after the backend. stamina, Litestar, dnspython, valkey-glide and asgi-lifespan
call asyncio, which works in a task of mio, but only if the name is asyncio. Libraries that call
asyncio for any name but trio need nothing: the ASGI transports of httpx, tenacity, and the clients
of Elasticsearch, OpenAI and Anthropic.

Decision. Exactly these names are replaced, by the first run for what is imported already, and later
at the import: while mio runs in the calling thread, the answer is the one that leads to AnyIO or to
asyncio; otherwise the library's own function answers. Nothing is imported for that, and a program
that imports this package and runs nothing sees no change. A module whose code no longer shows what
the answer relies on is not changed, with a warning: an httpcore2 whose asyncio backend
does not use AnyIO must not use that backend. ``ANYIO_MIO_COMPAT=0`` turns it all off. The same
changes for the libraries themselves are in docs/upstream/.

Cost. A few names of other projects' private modules, in the one table below.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import CodeType, ModuleType
from typing import Any, Final, TypeAlias

from anyio_mio._backend import import_hook, tasks
from anyio_mio._kernel.running import running

Function: TypeAlias = Callable[..., Any]

SWITCH: Final = "ANYIO_MIO_COMPAT"

ORIGINAL: Final = "original_of_anyio_mio"
"""The attribute of a replacement that holds the library's own function."""


def asyncio_while_mio_runs(original: Function) -> Function:
    """Return a ``current_async_library()`` that says "asyncio" while mio runs."""

    def current_async_library() -> Any:
        return original() if running.kernel is None else "asyncio"

    return current_async_library


def sniffio_while_mio_runs(original: Any) -> Any:
    """Return a module ``sniffio`` that says "asyncio" while mio runs."""
    stand_in = ModuleType(original.__name__, original.__doc__)
    stand_in.__dict__.update(vars(original))
    answer = asyncio_while_mio_runs(original.current_async_library)
    stand_in.__dict__["current_async_library"] = answer
    return stand_in


def task_group_while_mio_runs(original: Function) -> Function:
    """Return a ``get_asynclib()`` that finds mio's task group while mio runs."""

    def get_asynclib(asynclib_name: str | None = None) -> Any:
        kernel = running.kernel  # in its callbacks and asyncio's tasks there is no current task
        if kernel is not None and kernel.current is not None and asynclib_name in (None, "mio"):
            return tasks
        return original(asynclib_name)

    return get_asynclib


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One name in one module.

    Attributes:
        module: the module's full name.
        name: the name that is replaced there: a function, or the module ``sniffio``.
        parameters: how many the function takes.
        replace: makes the new value from the old one.
        reason: what happens without it.
        tested: the versions that were tried.
        evidence: the function that shows what the answer leads to.
        mentions: a name that its code must have.
        avoids: what no name of its code may contain, in lower case; empty for nothing.
    """

    module: str
    name: str
    parameters: int = 0
    replace: Callable[[Function], Function]
    reason: str
    tested: str
    evidence: str
    mentions: str
    avoids: str = ""


def patches_of_httpcore(package: str, tested: str) -> tuple[Patch, Patch]:
    """Return patches of the function that refuses, where it is defined and where it is imported."""
    locks = Patch(
        module=f"{package}._synchronization",
        name="current_async_library",
        replace=asyncio_while_mio_runs,
        reason="locks and events refuse any name but asyncio and trio",
        tested=tested,
        evidence="AsyncLock.setup",
        mentions="anyio",
        avoids="asyncio",
    )
    connections = Patch(
        module=f"{package}._backends.auto",
        name="current_async_library",
        replace=asyncio_while_mio_runs,
        reason="connecting refuses any name but asyncio and trio",
        tested=tested,
        evidence="AutoBackend._init_backend",
        mentions="AnyIOBackend",
        avoids="asyncio",
    )
    return locks, connections


def patch_of_sniffio(module: str, tested: str, evidence: str, mentions: str) -> Patch:
    """Return the question that a library asks by ``sniffio.current_async_library()``."""
    return Patch(
        module=module,
        name="sniffio",
        replace=sniffio_while_mio_runs,
        reason="it refuses any name but asyncio and trio",
        tested=tested,
        evidence=evidence,
        mentions=mentions,
    )


PATCHES: Final = {
    patch.module: patch
    for patch in (
        *patches_of_httpcore("httpcore", "1.0.9"),
        *patches_of_httpcore("httpcore2", "2.16.2"),
        Patch(
            module="asyncer._main",
            name="get_asynclib",
            parameters=1,
            replace=task_group_while_mio_runs,
            reason="the task group is looked for in anyio._backends, where only AnyIO's own are",
            tested="0.0.18",
            evidence="create_task_group",
            mentions="get_asynclib",
        ),
        Patch(
            module="stamina._core",
            name="current_async_library",
            replace=asyncio_while_mio_runs,
            reason="sleeping between two attempts refuses any name but asyncio and trio",
            tested="26.1.0",
            evidence="_smart_sleep",
            mentions="sleep",
        ),
        patch_of_sniffio("litestar.concurrency", "2.25.0", "_run_sync_asyncio", "asyncio"),
        patch_of_sniffio(
            "asgi_lifespan._concurrency", "2.1.0", "detect_concurrency_backend", "AsyncioBackend"
        ),
        patch_of_sniffio(
            "httpx_socks._async_proxy",
            "0.13.1",
            "AsyncProxyConnection._open_aio_stream",
            "AnyIOStream",
        ),
        Patch(
            module="dns.asyncbackend",
            name="sniff",
            replace=asyncio_while_mio_runs,
            reason="queries refuse any name but asyncio and trio",
            tested="2.9.2",
            evidence="get_backend",
            mentions="_asyncio_backend",
        ),
        patch_of_sniffio(
            "glide.glide_client", "2.6.0", "_get_new_future_instance", "create_future"
        ),
        patch_of_sniffio(
            "glide.monitor_client",
            "2.6.0",
            "MonitorClient.get_monitor_message",
            "_asyncio_queue",
        ),
    )
}


installed = False


def install() -> None:
    """Patch what is imported already, and later what is imported then. Called by each run."""
    global installed
    if installed or os.environ.get(SWITCH) == "0":
        return
    for name, patch in PATCHES.items():
        import_hook.watch(name, partial(apply, patch))
    installed = True  # last: where warnings are errors, each run says the same


def apply(patch: Patch, module: ModuleType) -> None:
    """Replace the name in its module, or leave the module as it was made, with a warning."""
    # What was imported from a module that is patched already is put back to its own first.
    original = getattr(module, patch.name, None)
    original = getattr(original, ORIGINAL, original)
    if original is None or not looks_as_expected(patch, module, original):
        if original is not None:
            setattr(module, patch.name, original)
        warn_of(patch)
        return
    replacement = patch.replace(original)
    setattr(replacement, ORIGINAL, original)
    setattr(module, patch.name, replacement)


def warn_of(patch: Patch) -> None:
    """Warn that a library may not run, and say what to do."""
    warnings.warn(
        f"anyio_mio does not know this version of {patch.module} (tested: {patch.tested}) and left "
        f"it alone; it may not run on the mio backend ({patch.reason}).\n"
        f"  right: upgrade anyio-mio, or set {SWITCH}=0 to silence this",
        RuntimeWarning,
        stacklevel=3,
    )


def looks_as_expected(patch: Patch, module: ModuleType, original: object) -> bool:
    """Return whether the name is what it was, and the evidence still leads where it did."""
    if not is_of_the_kind(patch, original):
        return False
    evidence: Any = module
    for name in patch.evidence.split("."):
        evidence = getattr(evidence, name, None)
    shown = code_of(getattr(evidence, ORIGINAL, evidence))
    if shown is None or patch.mentions not in shown.co_names:
        return False
    return not patch.avoids or not any(patch.avoids in name.lower() for name in shown.co_names)


def is_of_the_kind(patch: Patch, original: object) -> bool:
    """Return whether this is the module ``sniffio``, or a function that is called as it was."""
    if patch.name == "sniffio":
        return isinstance(original, ModuleType) and hasattr(original, "current_async_library")
    code = code_of(original)
    return code is not None and code.co_argcount == patch.parameters and not code.co_kwonlyargcount


def code_of(function: object) -> CodeType | None:
    """Return the code of a function that is written in Python."""
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None
