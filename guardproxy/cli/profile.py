"""`guardproxy profile ...`: look at a learned profile, and approve one that was learned from traffic.

Decides how an approval gets into the file: beside what a person wrote there, which stays as it is.
"""

import getpass
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import orjson

from guardproxy.cli.learn_out import InputError, now, write_file
from guardproxy.cli.learn_parts import read_part
from guardproxy.cli.output import FORMAT, print_problems, printable
from guardproxy.profile.document import MAX_BYTES, dump_profile, parse_profile
from guardproxy.profile.model import Approval, Origin, Profile
from guardproxy.profile.parts import MAGIC
from guardproxy.profile.show import profile_as_json, show_part, show_profile

INVALID = 2
MAX_NAME: Final = 200

_APPROVED: Final = re.compile(r"^approved:.*\n(?:[ \t]+.*\n)*", re.MULTILINE)
_SOURCE: Final = re.compile(r"^source:.*\n", re.MULTILINE)
_VERSION: Final = re.compile(r"^version:.*\n", re.MULTILINE)


@click.group()
def profile() -> None:
    """Look at a learned profile; approve one that was learned from traffic."""


@profile.command()
@click.argument("file", type=click.Path(path_type=Path))
@FORMAT
def show(file: Path, format_: str) -> None:
    """Print FILE: every field with its bounds and a small histogram. Of a part, what it was learned from."""
    if _is_part(file):
        _show_part(file, format_)
        return
    text = _text_of(file)
    found = _parsed(file, text, format_)
    if format_ == "json":
        said = orjson.dumps(profile_as_json(found), option=orjson.OPT_INDENT_2)
        click.echo(said.decode())
    else:
        click.echo(show_profile(found))


@profile.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--by", metavar="NAME", help="Who approves; by default the name you are logged in with.")
def approve(file: Path, by: str | None) -> None:
    """Let rules act on FILE, a profile learned from traffic. An edit afterwards needs another approval."""
    if _is_part(file):
        raise InputError(
            f"{file}: a part cannot be approved; merge it first: guardproxy learn --merge {file} --out FILE"
        )
    text = _text_of(file)
    found = _parsed(file, text, "text")
    if found.source is Origin.DATA:
        click.echo(
            f"{file}: learned from reference data, so rules act on it already; there is nothing to approve"
        )
        return
    if found.acts and found.approved is not None:
        given = found.approved
        click.echo(
            f"{file}: version {found.version} is approved already, by {printable(given.by)} at {printable(given.at)}"
        )
        return
    approved = replace(found, approved=Approval(_name(by), now(), found.version))
    write_file(file, _with_approval(text, approved).encode("utf-8"))
    name = printable(approved.approved.by) if approved.approved is not None else ""
    click.echo(
        f"{file}: version {approved.version} of model {printable(approved.model)} is approved by {name}"
    )
    click.echo("  rules act on it once the proxy has started again; an edit takes the approval away")


def _with_approval(text: str, profile: Profile) -> str:
    """Return the profile's text with its approval, comments and order as they were."""
    given = profile.approved
    if given is None:
        raise ValueError("there is no approval to write")
    by, at, version = (orjson.dumps(value).decode() for value in (given.by, given.at, given.version))
    line = f"approved: {{by: {by}, at: {at}, version: {version}}}\n"
    edited = _APPROVED.sub("", text if text.endswith("\n") else text + "\n")
    edited = _VERSION.sub(f"version: {version}\n", edited, count=1)
    edited = _SOURCE.sub(lambda found: found.group(0) + line, edited, count=1)
    # A file that a person laid out in another way is written anew rather than wrongly.
    return edited if parse_profile(edited, "") == profile else dump_profile(profile)


def _name(by: str | None) -> str:
    if by is None:
        try:
            by = getpass.getuser()
        except (OSError, KeyError, ImportError):
            by = ""
    name = by.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InputError(f"say who approves, in 1 to {MAX_NAME} characters: --by NAME")
    return name


def _parsed(file: Path, text: str, format_: str) -> Profile:
    found = parse_profile(text, str(file))
    if isinstance(found, list):
        print_problems(found, {str(file): text}, format_)
        sys.exit(INVALID)
    return found


def _is_part(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or 'cannot be read'}") from error


def _show_part(file: Path, format_: str) -> None:
    try:
        state = read_part(file, [])
    except ValueError as error:
        raise InputError(str(error)) from error
    settings = state.settings
    if format_ == "json":
        said = {
            "part": settings.model,
            "rows": state.rows,
            "alpha": settings.alpha,
            "columns": state.columns,
            "target": settings.target,
            "keys": settings.keys,
            "time": settings.time,
        }
        click.echo(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(show_part(state))
    click.echo(f"to see its fields, make a profile of it: guardproxy learn --merge {file} --out FILE")


def _text_of(file: Path) -> str:
    """Read a profile's text, one byte more than a document may have at most."""
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file}: the file is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or 'cannot be read'}") from error
