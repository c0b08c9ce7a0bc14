"""`guardproxy token new`: a token for a person or a service, and the line for the tokens file."""

import hashlib
import secrets

import click


@click.group()
def token() -> None:
    """Make tokens for the admin plane."""


@token.command()
@click.option("--name", required=True, help="Who will use it; reviews carry this name.")
@click.option(
    "--role", type=click.Choice(["viewer", "reviewer", "operator"]), default="reviewer", show_default=True
)
def new(name: str, role: str) -> None:
    """Make a token. It is shown once; the tokens file keeps only its hash."""
    secret = secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    click.echo(f"token: {secret}", err=True)
    click.echo("Give it to its user; add this to the file that admin.tokens_file names:", err=True)
    click.echo(f"- {{name: {name!r}, role: {role}, sha256: {digest}}}")
