"""The group of all commands."""

import sys
from typing import Any, Final

import click
from click.exceptions import Exit

from anyio_mio.cli.bench import bench
from anyio_mio.cli.console import stats, tree
from anyio_mio.cli.demo import demo
from anyio_mio.cli.doctor import doctor
from anyio_mio.cli.help_text import HelpContext
from anyio_mio.cli.run import run

if sys.platform == "win32":
    from anyio_mio.cli.serve_here import serve_on_windows as serve
else:
    from anyio_mio.cli.serve import serve
from anyio_mio.cli.top import top

WHOLE: Final = 200
"""Characters of a sentence in the list of commands; the lines are broken."""

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells give it."""


class Commands(click.Group):
    """A group whose commands end quietly at Ctrl-C."""

    context_class = HelpContext

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, whose help is laid out as the group's."""
        cmd.context_class = HelpContext
        super().add_command(cmd, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first sentence of each command, whole."""
        rows = [
            (name, self.commands[name].get_short_help_str(WHOLE)) for name in sorted(self.commands)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

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


SETTINGS: Final = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(cls=Commands, context_settings=SETTINGS)
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
