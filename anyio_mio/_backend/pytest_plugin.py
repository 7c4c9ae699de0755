"""pytest plugin: makes ``anyio_backend = "mio"`` work without an import in the test suite."""

from __future__ import annotations

from anyio_mio._backend.registration import register

register()
