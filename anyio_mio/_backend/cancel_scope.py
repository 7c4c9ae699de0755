"""AnyIO's cancel scope."""

from __future__ import annotations

import anyio

from anyio_mio._kernel import cancel_scope


# AnyIO's class has no slot but __weakref__, so the layouts do fit together.
class CancelScope(cancel_scope.CancelScope, anyio.CancelScope):  # type: ignore[misc]
    """The kernel's cancel scope, known to AnyIO."""

    __slots__ = ()
