"""The command `anyio-mio`: what its script calls.

It stands outside the package, whose import takes most of the time until a command begins: a Ctrl-C
during the import ends the command as one that comes later does. For the same reason, what takes
time to import is imported in the functions here.
"""

import os
import sys

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""


def main() -> None:
    """Run the command line."""
    try:
        import signal

        if signal.getsignal(signal.SIGINT) is _end:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        from anyio_mio.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def end_at_interrupt() -> None:
    """End the process at a Ctrl-C, until `main()` is called.

    It is for ``python -m``, which imports the package before it calls anything. A SIGINT that the
    parent has set to be ignored stays so.
    """
    try:
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _end)
    except KeyboardInterrupt:
        _end()


def _end(*_: object) -> None:
    """End at once: nothing has been printed yet, and nothing is open."""
    os._exit(INTERRUPTED)
