"""Errors that an application gets, and errors that it causes."""

from __future__ import annotations

from typing import Any


class ApplicationError(Exception):
    """The application broke the ASGI specification; the message names the event and what is right.

    It is raised where the application called ``send()`` or ``receive()``, or ends `serve()` when
    the application could not start.
    """


class ClientDisconnected(OSError):
    """The client is gone, so ``send()`` cannot send.

    An ``OSError``, as the specification asks from version 2.4 on. An application may let it pass.
    """


def describe(app: object) -> str:
    """Return an application's name for messages: ``module.function`` or ``module.Class object``."""
    name = getattr(app, "__qualname__", None)
    if name is None:
        return f"{type(app).__module__}.{type(app).__qualname__} object"
    return f"{getattr(app, '__module__', '?')}.{name}"


def is_about_the_client(error: BaseException | None, seen: frozenset[int] = frozenset()) -> bool:
    """Return whether an application failed because its client is gone.

    True for `ClientDisconnected`, for an exception of a framework with a name of that kind
    (Starlette's ``ClientDisconnect``), and for those that one of them has caused.

    Args:
        error: the exception.
        seen: the identities of those that were looked at on the way to it. Starlette's middleware
            raises a member of a group with the group as its context: that is a circle.
    """
    while error is not None and id(error) not in seen:
        seen |= {id(error)}
        if isinstance(error, BaseExceptionGroup):
            return all(is_about_the_client(each, seen) for each in error.exceptions)
        if isinstance(error, ClientDisconnected) or type(error).__name__ in DISCONNECTS:
            return True
        error = error.__cause__ or error.__context__
    return False


DISCONNECTS = frozenset({"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect"})
"""Names of exceptions with which frameworks say that the client hung up."""


def sent_by(app: object, event: str, error: ApplicationError) -> ApplicationError:
    """Return an error about an event's content, with the names of application and event."""
    return ApplicationError(f"{describe(app)} sent {event!r}: {error}")


def unexpected(app: object, message: Any, state: str, right: str) -> ApplicationError:
    """Return the error for an event that is out of order, or is not an event.

    Args:
        app: the application.
        message: what it sent.
        state: what had happened before, as the end of "sent ... ".
        right: what may come instead.
    """
    kind = message.get("type") if isinstance(message, dict) else message
    return ApplicationError(f"{describe(app)} sent {kind!r} {state}\n  right: {right}")
