"""Every error of ``accept()`` has a verdict."""

from __future__ import annotations

import errno

import pytest

from anyio_mio._net.accept_errors import ERRORS, MANY_IN_A_ROW, Verdict, judge

ONE_CONNECTION = [
    *("EINTR", "ECONNABORTED", "ECONNRESET", "EPROTO", "EPERM", "ENETDOWN", "EHOSTDOWN"),
    *("ENONET", "EHOSTUNREACH", "ENETUNREACH", "ENOPROTOOPT", "EOPNOTSUPP", "ENOSR"),
    *("ESOCKTNOSUPPORT", "EPROTONOSUPPORT", "ETIMEDOUT", "ECONNREFUSED"),
]
CAPACITY = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ENOSPC", "WSAEMFILE", "WSAENOBUFS"]
NO_LISTENER = ["EBADF", "ENOTSOCK"]
BUGS = ["EINVAL", "EFAULT", "ENOSYS", "EACCES"]
TABLE = {
    **dict.fromkeys(ONE_CONNECTION, Verdict.SKIP),
    **dict.fromkeys(CAPACITY, Verdict.BACK_OFF),
    **dict.fromkeys(NO_LISTENER, Verdict.CLOSED),
    **dict.fromkeys(BUGS, Verdict.RAISE),
}


def error(name: str) -> OSError:
    if not hasattr(errno, name):
        pytest.skip(f"this platform has no {name}")
    return OSError(getattr(errno, name), name)


@pytest.mark.parametrize("name", TABLE)
def test_each_error_has_its_verdict(name: str) -> None:
    assert judge(error(name)) is TABLE[name]


def test_the_table_has_no_error_that_is_not_tested() -> None:
    assert set(ERRORS) <= set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_after_our_own_closing_every_error_means_closed(name: str) -> None:
    assert judge(error(name), is_closed=True) is Verdict.CLOSED


@pytest.mark.parametrize("name", ONE_CONNECTION)
def test_many_failed_connections_in_a_row_are_taken_for_a_lasting_cause(name: str) -> None:
    assert judge(error(name), in_a_row=MANY_IN_A_ROW - 1) is Verdict.SKIP
    assert judge(error(name), in_a_row=MANY_IN_A_ROW) is Verdict.BACK_OFF


@pytest.mark.parametrize("unheard_of", [OSError("no number"), OSError(9999, "unheard of")])
def test_what_is_unheard_of_is_raised(unheard_of: OSError) -> None:
    assert judge(unheard_of, in_a_row=MANY_IN_A_ROW) is Verdict.RAISE
