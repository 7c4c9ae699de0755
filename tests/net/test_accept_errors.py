"""Every error of ``accept()`` has a kind."""

from __future__ import annotations

import errno

import pytest

from anyio_mio._net.accept_errors import (
    ERRORS,
    MANY_IN_A_ROW,
    AcceptErrorKind,
    after_many,
    classify,
)

ONE_CONNECTION = [
    *("EINTR", "ECONNABORTED", "ECONNRESET", "EPROTO", "EPERM", "ENETDOWN", "EHOSTDOWN"),
    *("ENONET", "EHOSTUNREACH", "ENETUNREACH", "ENOPROTOOPT", "EOPNOTSUPP", "ENOSR"),
    *("ESOCKTNOSUPPORT", "EPROTONOSUPPORT", "ETIMEDOUT", "ECONNREFUSED", "EACCES", "ENETRESET"),
]
CAPACITY = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ENOSPC", "EIO", "WSAEMFILE", "WSAENOBUFS"]
NO_LISTENER = ["EBADF", "ENOTSOCK"]
BUGS = ["EINVAL", "EFAULT", "ENOSYS"]
TABLE = {
    **dict.fromkeys(ONE_CONNECTION, AcceptErrorKind.SKIP),
    **dict.fromkeys(CAPACITY, AcceptErrorKind.BACK_OFF),
    **dict.fromkeys(NO_LISTENER, AcceptErrorKind.CLOSED),
    **dict.fromkeys(BUGS, AcceptErrorKind.RAISE),
}


def error(name: str) -> OSError:
    if not hasattr(errno, name):
        pytest.skip(f"this platform has no {name}")
    return OSError(getattr(errno, name), name)


@pytest.mark.parametrize("name", TABLE)
def test_each_error_has_its_kind(name: str) -> None:
    assert classify(error(name)) is TABLE[name]


def test_the_table_has_no_error_that_is_not_tested() -> None:
    assert set(ERRORS) <= set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_after_our_own_closing_every_error_means_closed(name: str) -> None:
    assert classify(error(name), is_closed=True) is AcceptErrorKind.CLOSED


@pytest.mark.parametrize("name", ONE_CONNECTION)
def test_many_failed_connections_in_a_row_are_taken_for_a_lasting_cause(name: str) -> None:
    kind = classify(error(name))
    assert after_many(kind, MANY_IN_A_ROW - 1) is AcceptErrorKind.SKIP
    assert after_many(kind, MANY_IN_A_ROW) is AcceptErrorKind.BACK_OFF


@pytest.mark.parametrize("unheard_of", [OSError("no number"), OSError(9999, "unheard of")])
def test_what_is_unheard_of_is_raised(unheard_of: OSError) -> None:
    assert after_many(classify(unheard_of), MANY_IN_A_ROW) is AcceptErrorKind.RAISE
