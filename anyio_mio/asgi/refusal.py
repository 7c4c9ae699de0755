"""Answers that the server gives by itself, and the status for each error of the parser."""

from __future__ import annotations

import http
import re
from typing import Final

import httptools

LOOKS_LIKE_A_METHOD: Final = re.compile(rb"[A-Z][A-Z-]{0,31} ")


class Refused(Exception):
    """A request that the application does not see; the server answers ``status`` and closes."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


def refusal(status: int, *, with_body: bool = True) -> bytes:
    """Return a whole answer of the server's own, after which the connection ends."""
    phrase = http.HTTPStatus(status).phrase
    body = phrase.encode() if with_body else b""
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
        b"connection: close\r\n\r\n%b" % (status, phrase.encode(), len(phrase), body)
    )


def status_for(error: httptools.HttpParserError, data: bytes | memoryview) -> int:
    """Return the status for what the parser said of a piece of data.

    Raises:
        BaseException: a callback failed for a reason of its own.
    """
    if isinstance(error, httptools.HttpParserCallbackError):
        raise error.__context__ or error
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return 501 if LOOKS_LIKE_A_METHOD.match(data) else 400
    return 505 if str(error) in ("Invalid HTTP version", "Pause on PRI/Upgrade") else 400


HOST: Final = re.compile(
    rb"[0-9A-Za-z.\-_~%!$&'()*+;=]*(:[0-9]{0,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{0,5})?"
)

KNOWN_HOSTS: Final[set[bytes]] = set()
"""Values of ``Host`` that were checked; clients send few different ones."""

MOST_KNOWN_HOSTS: Final = 256


def is_host(value: bytes) -> bool:
    """Return whether a ``Host`` is valid: proxies may read an invalid one in different ways."""
    if not HOST.fullmatch(value):
        return False
    if len(KNOWN_HOSTS) < MOST_KNOWN_HOSTS:
        KNOWN_HOSTS.add(value)
    return True


def status_for_coding(value: bytes, version: str) -> int:
    """Return the status for a coding of the body; 0 if it is served.

    The application would take bytes of any other coding than chunked for the body, and HTTP/1.0
    does not know it (RFC 9112, 6.1).
    """
    if version == "1.0":
        return 400
    return 0 if value.lower() == b"chunked" else 501
