"""The selectors that a contract is run on: those of this platform, and the model of kqueue."""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial
from typing import Final

from anyio_mio.poll import Selector, available_selectors, default_selector

SELECTORS: Final[dict[str, Callable[[], Selector]]] = {
    name: partial(default_selector, name) for name in available_selectors()
}
if hasattr(select, "epoll"):  # the model stands on it
    from tests.models import kqueue

    SELECTORS["kqueue model"] = kqueue.make_selector
