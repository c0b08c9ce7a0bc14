"""`guardproxy explain [CODE]`: what a problem's code means, with an example before and after.

Decides how a page is printed, and that all codes are listed where none is named. What stands on a page is left to `pages`.
"""

import json
import re
import textwrap
from typing import Final

import click

from guardproxy.cli.output import FORMAT, printable
from guardproxy.cli.pages import Page, pages
from guardproxy.source import did_you_mean

_WIDTH: Final = 88
_CODE: Final = re.compile(r"\b[EWN][0-9]{3}\b")


@click.command()
@click.argument("code", required=False)
@FORMAT
def explain(code: str | None, format_: str) -> None:
    """Say what a problem's CODE (such as E106) means and how it is fixed; without one, list all codes."""
    known = pages()
    if code is None:
        _list(list(known.values()), format_)
        return
    # As it is printed: error[E106].
    written = _CODE.search(code.upper())
    page = known.get(written.group()) if written else None
    if page is None:
        word = code[:40].upper()
        # Codes of one family are alike in what they are about, not only in how they are written.
        family = [each for each in known if each.startswith(word[:2])] or known
        raise click.UsageError(f"there is no code {printable(word)}; {did_you_mean(word, family)}")
    click.echo(json.dumps(page.as_json(), indent=2) if format_ == "json" else _page(page))


def _list(known: list[Page], format_: str) -> None:
    if format_ == "json":
        click.echo(json.dumps({"codes": [page.as_json() for page in known]}, indent=2))
        return
    for page in known:
        click.echo(textwrap.shorten(f"{page.code}  {page.summary}", _WIDTH + 16, placeholder=" ..."))


def _page(page: Page) -> str:
    parts = [_wrapped(f"{page.code}: {page.summary}")]
    parts += [_wrapped(paragraph) for paragraph in page.text.split("\n\n") if paragraph]
    if page.bad:
        parts.append("This has it:\n\n" + textwrap.indent(page.bad, "    "))
    if page.good:
        parts.append("This does not:\n\n" + textwrap.indent(page.good, "    "))
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), _WIDTH)
