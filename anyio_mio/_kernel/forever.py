"""Sleeping without end."""

from __future__ import annotations

from typing import Final, final


@final
class Forever:
    """What a task that sleeps forever is parked on."""

    __slots__ = ()

    def abort(self, task: object, /) -> bool:
        """Any task here is still waiting."""
        return True


FOREVER: Final = Forever()
