"""Runs anycorn as its own command does, with a worker process on mio, until SIGTERM.

The application's module imports anyio_mio, which is all that the worker needs.
"""

from __future__ import annotations

import sys

from anycorn import Config
from anycorn.run import run


def main() -> int:
    """Serve on a free port; anycorn tells the address on standard error."""
    config = Config.from_mapping(
        application_path="tests.programs.routes:app",
        bind=["127.0.0.1:0"],
        graceful_timeout=10,
        worker_class="mio",
        workers=1,
    )
    return run(config)


if __name__ == "__main__":
    sys.exit(main())
