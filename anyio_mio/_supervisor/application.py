"""The kind of a target: an ASGI application, a WSGI application, or a handler of streams.

The number of its arguments decides: three for an ASGI application, one for a handler, two (in a
function that is not async) for a WSGI application. ``--asgi`` and ``--raw`` set the kind where the
number does not.
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
    """The application or handler that is served.

    Attributes:
        call: the application or the handler.
        kind: its kind, in words.
        is_application: whether `anyio_mio.asgi` serves it.
    """

    call: Callable[..., Any]
    kind: str
    is_application: bool


def load_target(text: str, options: ApplicationOptions) -> Target:
    """Import the object that ``text`` names, and find out its kind.

    Raises:
        TargetError: the name does not exist, or is neither an application nor a handler.
        BaseException: an error of the module or the factory.
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
    """Return an application, if the extra `asgi` is installed.

    Raises:
        TargetError: it is not.
    """
    try:
        import anyio_mio.asgi  # noqa: F401 - an extra
    except ImportError as error:
        raise TargetError(str(error)) from None
    return Target(app, kind, is_application=True)


def wrap_wsgi(app: Callable[..., Any], text: str) -> Callable[..., Any]:
    """Return a WSGI application as an ASGI application, with a2wsgi.

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
    """Return the message of an `anyio_mio.asgi.ApplicationError` in one line, with its cause.

    Starlette and FastAPI send a whole traceback. It is logged, and its last line is returned.
    """
    head, mark, trace = str(error).partition(TRACEBACK)
    if mark:
        LOGGER.error("%s", str(error).rstrip())
        return head + trace.rstrip().rpartition("\n")[2].strip()
    text = "; ".join(map(str.strip, head.splitlines()))
    return f"{text}: {in_one_line(error.__cause__)}" if error.__cause__ else text


def takes(function: Callable[..., Any], arguments: tuple[str, ...]) -> bool:
    """Return whether a function can only be called with this number of arguments."""
    try:
        signature = inspect.signature(function)
        signature.bind(*arguments)
    except (TypeError, ValueError):
        return False
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    return inspect.Parameter.VAR_POSITIONAL not in kinds
