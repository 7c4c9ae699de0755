"""What tests need that the real thing cannot give: events in an order no system would produce.

`ScriptedSelector` stands in for the operating system, so that a poll, a reactor or a kernel can be
driven event by event, without descriptors and without waiting.
"""

from __future__ import annotations

from anyio_mio.testing.scripted import ScriptedSelector as ScriptedSelector

__all__ = ["ScriptedSelector"]
