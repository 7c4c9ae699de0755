"""The head of an answer: the status line and the header fields that the application sent.

It is checked as it is made. A name must be a token; names repeat from answer to answer, so those
that were seen stand in a table, with the bytes that they become. A value must hold no CR, LF or
NUL, or it could end the head early and begin an answer of its own (response splitting). The lines
are joined first, and CR and LF are counted once in the whole, and not searched for in each value.
"""

from __future__ import annotations

import http
import re
from typing import Any, Final

from anyio_mio.asgi.errors import ApplicationError

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

STATUS_LINES: Final[dict[Any, bytes]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode()
    for status in http.HTTPStatus
    if status >= 200
}

NOTED: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"trailer", b"date", b"server"}
)
"""Fields that the server must know: they frame the body, or it would add them itself."""

FRAMING: Final = frozenset({b"transfer-encoding", b"connection"})
"""Of these, the fields that the server always writes itself."""

REMEMBERED_NAMES: Final = 1024
"""Names that the table holds: an application may make up names without end."""

PREFIXES: Final[dict[bytes, bytes]] = {}
"""What stands before the value, for names that were found right and that need no other care."""


def join_head(status: Any, headers: Any, noted: list[tuple[bytes, bytes]]) -> bytes:
    """Check a head and join it, without the last CRLF.

    Args:
        status: the status code.
        headers: pairs of bytes.
        noted: takes the fields that the server must know, with lower-case names. Those that it
            writes itself (`FRAMING`) are in no line.

    Raises:
        ApplicationError: the status is none, or a name or a value is not allowed.
    """
    lines = [STATUS_LINES.get(status) or status_line(status)]
    try:
        for name, value in headers:
            prefix = PREFIXES.get(name) or learn(name, value, noted)
            if prefix is not None:
                lines.append(prefix + value)
    except (TypeError, ValueError, AttributeError):
        raise no_headers(headers) from None
    head = b"\r\n".join(lines)
    breaks = len(lines) - 1
    # For a number in bytes it takes 17 ns to look, for b"\0" it takes 190.
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or 0 in head:
        raise ApplicationError(
            "a header value holds CR, LF or NUL, which would end the head early\n"
            "  right: one line of text for each header field"
        )
    return head


def learn(name: Any, value: bytes, noted: list[tuple[bytes, bytes]]) -> bytes | None:
    """Check a field's name, remember it, and note the field if the server must know it.

    Returns:
        What stands before the value; None if the server writes the field itself.

    Raises:
        TypeError: the name is no bytes.
        ApplicationError: it is no token.
    """
    if name == b"content-length":  # in nearly every answer: without the steps below
        noted.append((name, value))
        return b"content-length: "
    if not TOKEN.fullmatch(name):
        raise ApplicationError(f"{name!r} is no header name\n  right: b'content-type'")
    prefix: bytes = name + b": "
    lower = name.lower()
    if lower in NOTED:
        noted.append((lower, value))
        return None if lower in FRAMING else prefix
    if len(PREFIXES) < REMEMBERED_NAMES:
        PREFIXES[name] = prefix
    return prefix


def status_line(status: Any) -> bytes:
    """Return the line for a status that has no name.

    Raises:
        ApplicationError: it is no status of a final answer.
    """
    if type(status) is not int or not 200 <= status <= 999:
        raise ApplicationError(
            f"the status is {status!r}\n  right: a number from 200 to 999, such as 200"
        )
    return b"HTTP/1.1 %d " % status


def parse_length(value: bytes, before: int | None) -> int:
    """Return the number in a ``content-length`` of the application.

    Args:
        value: the field's value.
        before: what an earlier field said, if there was one.

    Raises:
        ApplicationError: it is no number, or another one than before.
    """
    if not is_plain_length(b"content-length", value) or before not in (None, int(value)):
        raise ApplicationError(
            f"content-length is {value!r}"
            + (f" after {before}" if before is not None else "")
            + "\n  right: one content-length, in digits, such as b'5'"
        )
    return int(value)


def is_plain_length(name: bytes, value: bytes) -> bool:
    """Return whether a field is a ``content-length`` with a number that can be one."""
    return name == b"content-length" and len(value) <= 18 and value.isdigit()


def no_headers(headers: object) -> ApplicationError:
    """Return the error for something that is no list of pairs of bytes."""
    return ApplicationError(
        f"the headers are {headers!r:.200}\n"
        '  wrong: "headers": {"content-type": "text/plain"}, or pairs of str\n'
        '  right: "headers": [(b"content-type", b"text/plain")]'
    )
