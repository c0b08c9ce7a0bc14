"""`guardproxy profile ...`: look at a learned profile. Decides nothing but how it is printed."""

import sys
from pathlib import Path

import click
import orjson

from guardproxy.cli.learn import InputError
from guardproxy.cli.output import FORMAT, print_problems
from guardproxy.documents import MAX_BYTES
from guardproxy.profile.document import parse_profile
from guardproxy.profile.show import profile_as_json, show_profile

INVALID = 2


@click.group()
def profile() -> None:
    """Look at a learned profile."""


@profile.command()
@click.argument("file", type=click.Path(path_type=Path))
@FORMAT
def show(file: Path, format_: str) -> None:
    """Print FILE: every field with its bounds and a small histogram."""
    text = _text_of(file)
    found = parse_profile(text, str(file))
    if isinstance(found, list):
        print_problems(found, {str(file): text}, format_)
        sys.exit(INVALID)
    if format_ == "json":
        click.echo(orjson.dumps(profile_as_json(found), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(show_profile(found))


def _text_of(file: Path) -> str:
    """Read a profile's text, one byte more than a document may have at most."""
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file}: the file is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or 'cannot be read'}") from error
