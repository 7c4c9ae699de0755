"""The exception that cancellation is made of."""

from __future__ import annotations

from typing import final


@final
class Cancelled(BaseException):
    """Raised at a checkpoint of a cancelled scope; let it pass, the scope takes it.

    A `BaseException`, so that ``except Exception`` does not swallow it. The message says what
    cancelled the scope: a deadline, or the task that called ``cancel()`` and its reason.
    """
