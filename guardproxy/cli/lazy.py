"""A group of commands that are imported when they are asked for.

Decides nothing but that: `guardproxy rules check` does not pay for what `guardproxy learn` imports.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Final

import click

Commands = Mapping[str, tuple[str, str, str]]
"""By name: the module, the command's name in it, and its line in the list."""


class LazyGroup(click.Group):
    """A group whose `lazy` commands are imported when they are run."""

    def __init__(self, *args: Any, lazy: Commands, **kwargs: Any) -> None:
        """Know the commands by where they are."""
        super().__init__(*args, **kwargs)
        self._lazy: Final = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in their order."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in self._lazy:
            return None
        module, name, _ = self._lazy[cmd_name]
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{name} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self._lazy.items()])
