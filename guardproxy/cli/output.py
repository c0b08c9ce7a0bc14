"""How commands print problems and text that is not theirs. Decides the form; exit codes are left to the commands."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from guardproxy.cli.formats import case_of, github, junit, sarif
from guardproxy.rules.codes import CODES
from guardproxy.source import Paint, Problem, plain, render_all

FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output form.",
)
REPORT_FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "github", "junit", "sarif"]),
    default="text",
    show_default=True,
    help="Output form; the last three are for build servers.",
)

MAX_DRAWN: Final = 200
"""Problems that are drawn in one run."""

_ALIKE: Final = frozenset({"N401"})
MAX_PLACES: Final = 5
"""Places of further notes of one kind, which are not drawn."""

_COLOURS: Final[Mapping[str, Mapping[str, Any]]] = {
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "note": {"fg": "cyan", "bold": True},
    "gutter": {"fg": "blue"},
    "strong": {"bold": True},
    "help": {"bold": True},
}


def print_problems(problems: Sequence[Problem], texts: Mapping[str, str], format_: str = "text") -> None:
    """Print problems: drawn with their lines on standard error, or as a report on standard output.

    `json` is the contract's form; `github`, `junit` and `sarif` are what build servers read. `texts` are the files'
    contents by name, also of those without a problem.
    """
    if format_ == "text":
        _draw(problems, texts)
    elif format_ == "json":
        _echo(json.dumps({"problems": [problem.as_json() for problem in problems]}, indent=2))
    elif format_ == "github":
        _echo("\n".join(github.problem_lines(problems)))
    elif format_ == "junit":
        _echo(junit.problem_document(problems, texts))
    else:
        _echo(json.dumps(sarif.problem_log(problems, CODES), indent=2))


def print_tests(cases: Sequence[Mapping[str, Any]], format_: str) -> None:
    """Print tests, given in the contract's JSON form, as a report on standard output. Their text form is the command's."""
    if format_ == "json":
        _echo(json.dumps({"cases": list(cases)}, indent=2))
        return
    known = [case_of(case) for case in cases]
    if format_ == "github":
        _echo("\n".join(github.test_lines(known)))
    elif format_ == "junit":
        _echo(junit.test_document(known))
    else:
        _echo(json.dumps(sarif.test_log(known), indent=2))


def painter() -> Paint:
    """Return how standard error is coloured: not at all unless a person reads it, who has not asked for none (NO_COLOR)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty():
        return plain
    return lambda text, role: click.style(text, **_COLOURS.get(role, {}))


def _draw(problems: Sequence[Problem], texts: Mapping[str, str]) -> None:
    # Beyond what anybody reads, what stops the command comes first.
    drawn, alike = _without_alike(problems)
    first = drawn if len(drawn) <= MAX_DRAWN else sorted(drawn, key=lambda one: one.severity != "error")
    for drawing in render_all(first[:MAX_DRAWN], texts, painter()):
        click.echo(drawing + "\n", err=True)
    for code, places in alike.items():
        more = f" and {len(places) - MAX_PLACES:,} more" if len(places) > MAX_PLACES else ""
        click.echo(f"note[{code}]: the same at {', '.join(places[:MAX_PLACES])}{more}\n", err=True)
    if len(drawn) > MAX_DRAWN:
        click.echo(f"{len(drawn) - MAX_DRAWN:,} more are not drawn; --format json lists them all.", err=True)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        warnings = sum(problem.severity == "warning" for problem in problems)
        found = count(len(errors), "error") + (f" and {count(warnings, 'warning')}" if warnings else "")
        click.echo(f"{found} found. `guardproxy explain {errors[0].code}` says more.", err=True)


def _without_alike(problems: Sequence[Problem]) -> tuple[list[Problem], dict[str, list[str]]]:
    """Leave one note of each code whose notes all say the same; give the places of the others. A dozen would hide an error."""
    drawn: list[Problem] = []
    alike: dict[str, list[str]] = {}
    for problem in problems:
        if problem.code in alike:
            alike[problem.code].append(printable(f"{problem.file}:{problem.line}"))
        else:
            drawn.append(problem)
            if problem.code in _ALIKE:
                alike[problem.code] = []
    return drawn, {code: places for code, places in alike.items() if places}


def _echo(text: str) -> None:
    if text:
        click.echo(text)


def printable(text: str, limit: int = 200) -> str:
    """Return text for a terminal, cut to `limit` characters: what would control it is shown by its code point."""
    shown = "".join(char if char.isprintable() else f"⟨U+{ord(char):04X}⟩" for char in text[:limit])
    return shown + "…" if len(text) > limit else shown


def count(number: int, noun: str) -> str:
    """Return `1 rule`, `2 rules`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
