"""The object to run or serve: ``module:attribute``, or the name of a built-in handler."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from anyio_mio._supervisor.handlers import BUILT_IN
from anyio_mio._supervisor.search_path import is_in_the_library, search_path


class TargetError(Exception):
    """A target cannot be used; the message says what to write instead."""


def load_handler(text: str) -> Callable[..., Any]:
    """Return the connection handler that ``text`` names.

    Raises:
        TargetError: there is none, it is no async function, or it does not take a stream.
    """
    if text in BUILT_IN:
        return BUILT_IN[text]
    refuse_path(text)
    if ":" not in text:
        names = ", ".join(BUILT_IN)
        raise TargetError(
            f"{text!r} is neither a built-in handler ({names}) nor module:function\n"
            f"  wrong: anyio-mio serve {text}\n"
            "  right: anyio-mio serve echo, or anyio-mio serve my_module:handler"
        )
    handler = load_function(text)
    refuse_arguments(handler, text, ("a stream",))
    return handler


def load_function(text: str) -> Callable[..., Any]:
    """Return the async function ``module:function``; `search_path` has the folders to search.

    Raises:
        TargetError: there is no such module or function, or it is no async function.
        BaseException: what the module raised while it was imported; see `in_one_line()`.
    """
    refuse_path(text)
    module_name, _, path = text.partition(":")
    if not module_name or not path:
        raise TargetError(f"{text!r} is not of the form module:function\n  right: my_module:main")
    function: Callable[..., Any] = lookup(import_module(module_name), path, text)
    if not callable(function):
        raise TargetError(f"{text!r} is {function!r}, which cannot be called")
    if not is_async(function):
        raise TargetError(
            f"{text!r} is not an async function\n"
            f"  wrong: def {path}(...)\n"
            f"  right: async def {path}(...)"
        )
    return function


def refuse_path(text: str) -> None:
    """Check that a target names a module, and not its file.

    Raises:
        TargetError: it names a file; the message has the module.
    """
    place, _, name = text.partition(":")
    folder, _, file = place.rpartition("/")
    if not folder and not (file.endswith(".py") and os.path.isfile(place)):
        return
    where = f", in the folder {folder}" if folder else ""
    raise TargetError(
        f"{place!r} is a file, and a target names a module\n"
        f"  wrong: {text}\n"
        f"  right: {file.removesuffix('.py')}:{name or 'main'}{where}"
    )


def refuse_arguments(
    function: Callable[..., Any], text: str, arguments: tuple[object, ...]
) -> None:
    """Check that a function accepts these arguments, before it is called.

    Raises:
        TargetError: it takes more arguments, or fewer.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(*arguments)
    except TypeError as error:
        given = " ".join(map(str, arguments)) or "nothing"
        raise TargetError(
            f"{text!r} cannot be called with {given}: {error}\n"
            f"  it is: async def {text.partition(':')[2]}{signature}"
        ) from None


def import_module(name: str) -> Any:
    """Import a module of the user."""
    sys.path[:] = search_path()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise  # the module exists; something that it imports does not
        raise TargetError(
            f"there is no module {name!r} in {os.getcwd()} or among the installed packages\n"
            "  right: run the command in the folder that holds it, or set PYTHONPATH"
        ) from None


def in_one_line(error: BaseException) -> str:
    """Return an error and the line that raised it, or the line that Python cannot parse."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = " ".join(traceback.format_exception_only(error)[-1].split())
    return f"{what} ({frame.filename}:{frame.lineno})"


def lookup(module: Any, path: str, text: str) -> Any:
    """Return the attribute of a module, dots allowed."""
    found = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            hint = hint_for(module, name, found)
            raise TargetError(f"{text!r}: {module.__name__!r} has no {path!r}{hint}") from None
    return found


def hint_for(module: Any, name: str, found: Any) -> str:
    """Return a hint for a name that a module does not have."""
    if is_in_the_library(module.__name__):
        return "; that is a module of Python's own library: give yours another name"
    similar = get_close_matches(name, dir(found), 1)
    return f"; did you mean {similar[0]!r}?" if similar else ""


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a call makes a coroutine; this includes objects with an async ``__call__``."""
    unwrapped = inspect.unwrap(function)
    while hasattr(unwrapped, "func"):  # functools.partial
        unwrapped = unwrapped.func
    call = getattr(unwrapped, "__call__", None)  # noqa: B004 - its kind is asked for, not its being
    return inspect.iscoroutinefunction(unwrapped) or inspect.iscoroutinefunction(call)
