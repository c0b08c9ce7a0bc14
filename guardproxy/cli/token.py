"""`guardproxy token new`: a token for a person or a service, and the line for the tokens file."""

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
    """Make a token. It is shown once; the tokens file keeps only its hash.

    The line for the tokens file goes to standard output, so that `>> tokens.yaml` adds it; all else to standard error.
    """
    from guardproxy.admin.tokens import NAME_HELP, ROLES, is_token_name, new_token

    if not is_token_name(name):
        raise click.UsageError(f"--name: {NAME_HELP}")
    secret, made = new_token(name, ROLES[role])
    click.echo(f"token: {secret}", err=True)
    click.echo(
        "Give it to its user; it is not shown again. The file of `admin.tokens_file` gets this line:",
        err=True,
    )
    # In quotes: a name such as 007 or true is text here.
    click.echo(f'- {{name: "{made.name}", role: {role}, sha256: "{made.sha256}"}}')
