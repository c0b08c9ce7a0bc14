"""The command line: parse, call one function, print.

Decides names of commands and exit codes (0 ok, 1 a check or test failed, 2 usage or invalid input, 3 internal). Each
command's module is imported only when it runs, so that `guardproxy rules check` does not pay for pyarrow.
"""

import importlib
import sys
from typing import Final

import click

from guardproxy import __version__

INTERNAL: Final = 3

_COMMANDS: Final = {
    "config": ("guardproxy.cli.config", "config", "Check a configuration, or print its schema."),
    "demo": ("guardproxy.cli.demo", "demo", "Watch guardproxy protect a real model."),
    "explain": ("guardproxy.cli.explain", "explain", "Say what a problem's code means."),
    "holds": ("guardproxy.cli.holds", "holds", "List held predictions and decide about them."),
    "learn": ("guardproxy.cli.learn", "learn", "Learn a profile from reference data."),
    "profile": ("guardproxy.cli.profile", "profile", "Look at a learned profile."),
    "rules": ("guardproxy.cli.rules", "rules", "Check and test rule files."),
    "serve": ("guardproxy.cli.serve", "serve", "Run the proxy beside a model server."),
    "token": ("guardproxy.cli.token", "token", "Make tokens for the admin plane."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{name} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="guardproxy")
def cli() -> None:
    """A sidecar that checks what goes into a model server and what comes out, row by row."""


def main() -> None:
    """Run a command; an exception that nobody expected is exit code 3."""
    try:
        code = cli.main(standalone_mode=False, prog_name="guardproxy")
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe has had enough; that is no failure of ours.
        sys.exit(0)
    except Exception as error:
        click.echo(f"guardproxy: internal error: {type(error).__name__}: {error}", err=True)
        if "--debug" in sys.argv:
            raise
        sys.exit(INTERNAL)
    sys.exit(code if isinstance(code, int) else 0)
