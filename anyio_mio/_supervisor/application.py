"""What a target is: an ASGI application, a WSGI one, or a handler of streams.

It is told by the arguments that it takes: three make an ASGI application, one a handler, two (in a
function that is not async) a WSGI application. ``--asgi`` and ``--raw`` say it where that does not
tell.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from anyio_mio._supervisor.configuration import ApplicationOptions
from anyio_mio._supervisor.handlers import BUILT_IN
from anyio_mio._supervisor.target import (
    TargetError,
    import_module,
    in_one_line,
    is_async,
    load_handler,
    lookup,
    refuse_path,
)

LOGGER: Final = logging.getLogger("anyio_mio.worker")

TRACEBACK: Final = "Traceback (most recent call last):"

ASGI_ARGUMENTS: Final = ("scope", "receive", "send")
WSGI_ARGUMENTS: Final = ("environ", "start_response")


@dataclass(frozen=True, slots=True)
class Target:
    """What is served.

    Attributes:
        call: the application or the handler.
        kind: what it was taken for, in words.
        is_application: whether `anyio_mio.asgi` serves it.
    """

    call: Callable[..., Any]
    kind: str
    is_application: bool


def load_target(text: str, options: ApplicationOptions) -> Target:
    """Import what ``text`` names, and tell what it is.

    Raises:
        TargetError: there is nothing of the name, or it is neither an application nor a handler.
        BaseException: what the module or the factory raised.
    """
    if text in BUILT_IN or ":" not in text or options.kind == "raw":
        return Target(load_handler(text), "stream handler", is_application=False)
    refuse_path(text)
    module, _, path = text.partition(":")
    found = lookup(import_module(module), path, text)
    if options.is_factory:
        found = found()
    if not callable(found):
        raise TargetError(f"{text!r} is {found!r}, which cannot be called")
    if options.kind == "asgi" or takes(found, ASGI_ARGUMENTS):
        return application(found, "ASGI application")
    if takes(found, ("stream",)) and is_async(found):
        return Target(found, "stream handler", is_application=False)
    if takes(found, WSGI_ARGUMENTS) and not is_async(found):
        return application(wrap_wsgi(found, text), "WSGI application")
    if takes(found, ()) and not is_async(found):
        raise TargetError(
            f"{text!r} takes no arguments\n"
            f"  right: anyio-mio serve {text} --factory, if it makes the application"
        )
    return Target(load_handler(text), "stream handler", is_application=False)  # says what is wrong


def application(app: Callable[..., Any], kind: str) -> Target:
    """Return an application, if the extra that serves it is installed.

    Raises:
        TargetError: it is not.
    """
    try:
        import anyio_mio.asgi  # noqa: F401 - an extra
    except ImportError as error:
        raise TargetError(str(error)) from None
    return Target(app, kind, is_application=True)


def wrap_wsgi(app: Callable[..., Any], text: str) -> Callable[..., Any]:
    """Return a WSGI application as an ASGI one, by a2wsgi.

    Raises:
        TargetError: a2wsgi is not installed.
    """
    if importlib.util.find_spec("a2wsgi") is None:
        raise TargetError(
            f"{text!r} is a WSGI application, which needs the package a2wsgi\n"
            "  right: pip install a2wsgi"
        )
    from a2wsgi import WSGIMiddleware

    wrapped: Callable[..., Any] = WSGIMiddleware(app)
    return wrapped


def why_it_failed(error: Exception) -> str:
    """Return what an `anyio_mio.asgi.ApplicationError` says, in one line, and its cause.

    Starlette and FastAPI say it by a whole traceback: that is logged, and its last line returned.
    """
    head, mark, trace = str(error).partition(TRACEBACK)
    if mark:
        LOGGER.error("%s", str(error).rstrip())
        return head + trace.rstrip().rpartition("\n")[2].strip()
    text = "; ".join(map(str.strip, head.splitlines()))
    return f"{text}: {in_one_line(error.__cause__)}" if error.__cause__ else text


def takes(function: Callable[..., Any], arguments: tuple[str, ...]) -> bool:
    """Return whether a function can be called with so many arguments, and with no others."""
    try:
        signature = inspect.signature(function)
        signature.bind(*arguments)
    except (TypeError, ValueError):
        return False
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    return inspect.Parameter.VAR_POSITIONAL not in kinds
