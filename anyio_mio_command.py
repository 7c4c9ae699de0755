"""The command `anyio-mio`: what its script calls.

It stands outside the package, whose import takes most of the time until a command begins: a Ctrl-C
during the import ends the command as one that comes later does.
"""

import sys

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""


def main() -> None:
    """Run the command line."""
    try:
        from anyio_mio.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
