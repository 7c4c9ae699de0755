"""Tools for tests, which choose the time, the order of tasks and the events.

Map: `clock`, `sequencer`, `checkpoints` and `scripted`.

* `MockClock` lets hours pass at once; the fixtures ``mio_mock_clock`` and ``mio_autojump_clock``
  make one.
* `Sequencer` makes tasks take turns; the backend option ``shuffle`` makes their order random.
* `assert_checkpoints` and `assert_no_checkpoints` check whether code passes a checkpoint.
* `ScriptedSelector` replaces the operating system's selector. It drives a poll, a reactor or a
  kernel event by event, without descriptors and without waiting.
"""

from __future__ import annotations

from anyio_mio.testing.checkpoints import assert_checkpoints as assert_checkpoints
from anyio_mio.testing.checkpoints import assert_no_checkpoints as assert_no_checkpoints
from anyio_mio.testing.clock import MockClock as MockClock
from anyio_mio.testing.scripted import ScriptedSelector as ScriptedSelector
from anyio_mio.testing.sequencer import Sequencer as Sequencer

__all__ = [
    "MockClock",
    "ScriptedSelector",
    "Sequencer",
    "assert_checkpoints",
    "assert_no_checkpoints",
]
