"""Checks of the arguments of servers, for AnyIO and for Trio; errors show the right line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Final

SYNC_HANDLER: Final = (
    "the handler {name} is not an async function\n"
    "  wrong: def {name}(stream): ...\n"
    "  right: async def {name}(stream): ..."
)


def check_handler(handler: object) -> None:
    """Raise TypeError if ``handler`` cannot handle a connection.

    A lambda, or an object with a ``__call__``, may return an awaitable and passes.
    """
    if not callable(handler):
        raise TypeError(
            f"the handler must be an async function, not {handler!r}\n"
            "  right: async def handler(stream): ..."
        )
    function: Callable[..., object] = inspect.unwrap(handler)
    while hasattr(function, "func"):  # functools.partial
        function = inspect.unwrap(function.func)
    name = getattr(function, "__name__", "")
    is_sync = inspect.isroutine(function) and not inspect.iscoroutinefunction(function)
    if is_sync and name != "<lambda>" and not returns_awaitable(function):
        raise TypeError(SYNC_HANDLER.format(name=name))


def returns_awaitable(function: Callable[..., object]) -> bool:
    """Return whether a function's annotation says that its result can be awaited."""
    annotation = str(getattr(function, "__annotations__", {}).get("return", ""))
    return any(word in annotation for word in ("Awaitable", "Coroutine", "Future"))


def check_names(options: Iterable[str], names: Collection[str]) -> None:
    """Raise an error with a suggestion if an option does not exist.

    Raises:
        TypeError: one of ``options`` is not in ``names``.
    """
    for option in options:
        if option not in names:
            from difflib import get_close_matches  # takes 2 ms, so only after a mistake

            similar = get_close_matches(option, names, 1)
            hint = f"did you mean {similar[0]!r}?" if similar else f"there are: {', '.join(names)}"
            raise TypeError(f"there is no option {option!r}; {hint}")


def check_count(name: str, value: object) -> None:
    """Raise an error if ``value`` is neither None nor a positive integer."""
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer or None, not {value!r}\n  right: {name}=100")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}\n  right: {name}=100, or None")


def check_hook(hook: object) -> None:
    """Raise TypeError if ``on_accept_error`` cannot work.

    Raises:
        TypeError: it is an async function, or not a function.
    """
    if hook is None:
        return
    call = getattr(hook, "__call__", None)  # noqa: B004 - its kind is asked for, not its being
    if not callable(hook) or any(map(inspect.iscoroutinefunction, (hook, call))):
        raise TypeError(
            f"on_accept_error must be a function that returns at once, not {hook!r}\n"
            "  wrong: async def on_error(error, kind): ...\n"
            "  right: def on_error(error, kind): ..."
        )


def task_name(handler: Callable[..., object]) -> str:
    """Return a handler's module and qualified name, as far as it has them, as AnyIO names tasks."""
    parts = (getattr(handler, "__module__", None), getattr(handler, "__qualname__", None))
    return ".".join(part for part in parts if part)
