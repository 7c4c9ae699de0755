"""How much one task, or one turn, may do before the others have theirs (K2, K3)."""

from __future__ import annotations

from typing import Final

BUDGET: Final = 64
"""Operations that a task may finish in one step without yielding.

tokio's is 128 for each poll of a task; ours is lower because an operation costs more here. Echo
does not care (16 to 128: within 3 %), since its receives park; bare checkpoints gain 8 % from 16 to
64 and 5 % from 64 to 128.
"""

STEPS_PER_POLL: Final = 61
"""Steps after which a turn ends and I/O is polled again, if tasks keep waking each other.

tokio's event interval. Polling at each step instead halves the rate of event ping-pong and takes a
third of a memory stream's; from 16 steps up the figures do not change.
"""

EVENTS_PER_POLL: Final = 512
