"""How commands print problems and text that is not theirs. Decides the form; exit codes are left to the commands."""

import json
from collections.abc import Mapping, Sequence

import click

from guardproxy.source import Problem, render

FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output form.",
)


def print_problems(problems: Sequence[Problem], texts: Mapping[str, str], format_: str = "text") -> None:
    """Print problems: drawn with their lines on standard error, or as the contract's JSON on standard output."""
    if format_ == "json":
        click.echo(json.dumps({"problems": [problem.as_json() for problem in problems]}, indent=2))
        return
    for problem in problems:
        click.echo(render(problem, texts.get(problem.file, "")) + "\n", err=True)
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        click.echo(f"{errors} error{'s' if errors > 1 else ''} found.", err=True)


def printable(text: str, limit: int = 200) -> str:
    """Return text for a terminal, cut to `limit` characters: what would control it is shown by its code point."""
    shown = "".join(char if char.isprintable() else f"⟨U+{ord(char):04X}⟩" for char in text[:limit])
    return shown + "…" if len(text) > limit else shown


def count(number: int, noun: str) -> str:
    """Return `1 rule`, `2 rules`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
