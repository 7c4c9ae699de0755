"""The group of all commands."""

import sys
from typing import Any, Final

import click
from click.exceptions import Exit

from anyio_mio.cli.bench import bench
from anyio_mio.cli.console import stats, tree
from anyio_mio.cli.demo import demo
from anyio_mio.cli.doctor import doctor
from anyio_mio.cli.run import run

if sys.platform == "win32":
    from anyio_mio.cli.serve_here import serve_on_windows as serve
else:
    from anyio_mio.cli.serve import serve
from anyio_mio.cli.top import top

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells give it."""


class Commands(click.Group):
    """A group whose commands end quietly at Ctrl-C."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Read the command line."""
        try:
            return super().make_context(*arguments, **more)
        except KeyboardInterrupt:
            raise Exit(INTERRUPTED) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="anyio-mio")
def group() -> None:
    """An AnyIO backend in pure Python on a poller with the rules of Mio."""


group.add_command(bench)
group.add_command(demo)
group.add_command(doctor)
group.add_command(run)
group.add_command(serve)
group.add_command(stats)
group.add_command(top)
group.add_command(tree)
