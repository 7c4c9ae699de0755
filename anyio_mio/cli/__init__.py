"""The command `anyio-mio`.

Map: `group` has all commands; each is a module: `run`, `serve`, `bench`, `demo`, `doctor`, `top`,
and `console` (tree and stats). `serve` has `application_options`, `observing_options`, `management`
and `serve_here`. `bench_table`, `report`, `top_screen` and `tables` print results, and `progress`
draws a bar. Several commands share the options in `options` and `names`; `numbers` has the types of
options that take a number. All commands use `completion` and `help_text`.

Rules:

1. A command is a module here that defines one click command, and a line in `group.py`.
2. Commands use the package as any user does, and nothing private.
3. Without the extra `cli` the command says how to install it. Importing the package does not need
   it.
"""

import sys

NEEDED = ("click", "rich")


def main() -> None:
    """Run the command line."""
    try:
        from anyio_mio.cli.group import group
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in NEEDED:
            raise
        print(
            f"anyio-mio: the command needs {error.name}, which is not installed\n"
            "  right: pip install 'anyio-mio[cli]', or '.[cli]' in a checkout",
            file=sys.stderr,
        )
        sys.exit(2)
    group(prog_name="anyio-mio")
