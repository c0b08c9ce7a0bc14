"""`guardproxy explain CODE`: what a problem's code means."""

import click

from guardproxy.rules.codes import CODES
from guardproxy.source import did_you_mean


@click.command()
@click.argument("code")
def explain(code: str) -> None:
    """Say what a problem's CODE (such as E204) means."""
    text = CODES.get(code.upper())
    if text is None:
        raise click.UsageError(f"there is no code {code}; {did_you_mean(code.upper(), CODES)}")
    click.echo(f"{code.upper()}: {text}")
