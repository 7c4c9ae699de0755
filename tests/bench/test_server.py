from __future__ import annotations

from dataclasses import dataclass, field

from anyio_mio._bench.server import counted


@dataclass
class Statistics:
    accepted: int
    accepts_per_wakeup: dict[int, int]
    open: int = 0


@dataclass
class Listener:
    counts: Statistics

    def statistics(self) -> Statistics:
        return self.counts


@dataclass
class MultiListener:
    listeners: list[object] = field(default_factory=list)


def test_the_counts_of_several_listeners_are_added_up() -> None:
    one = Listener(Statistics(5, {1: 1, 4: 1}))
    other = Listener(Statistics(2, {1: 2}))

    assert counted(MultiListener([one, other])) == {
        "accepted": 7,
        "accepts_per_wakeup": {1: 3, 4: 1},
    }


def test_listeners_that_do_not_count_give_nothing() -> None:
    assert counted(MultiListener([object()])) == {}
