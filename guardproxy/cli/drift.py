"""`guardproxy drift`: which models and fields have moved away from what was learned, through the admin API.

Decides what is listed, in which order, and the exit code. What counts as drift is left to the server.
"""

import json
import shutil
import sys
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from guardproxy.admin.signals import STATES
from guardproxy.cli.client import Admin, admin_options
from guardproxy.cli.hold_text import clock, print_line
from guardproxy.cli.output import FORMAT, count, printable

STANDS: Final = 1
_LISTED: Final = frozenset({"alarm", "watch"})
_TITLES: Final = ("model", "field", "state", "effect", "rows 24h", "raised")


@click.command()
@click.option("--model", help="Only this model.")
@click.option(
    "--all", "whole", is_flag=True, help="List every field, not only those that drift or are watched."
)
@admin_options
@FORMAT
def drift(model: str | None, whole: bool, admin: Admin, format_: str) -> None:
    """Say which models and fields drift; exit 1 when an alarm stands (or nobody can be asked), else 0."""
    query = f"?{urllib.parse.urlencode({'model': model})}" if model else ""
    answer, _ = admin.ask(f"/v1/drift{query}")
    models = answer.get("models", [])
    if format_ == "json":
        click.echo(json.dumps(answer, indent=2))
    else:
        print_drift(models, whole=whole)
    if any(_drifts(said) for said in models):
        sys.exit(STANDS)


def print_drift(models: Sequence[Mapping[str, Any]], *, whole: bool) -> None:
    """Print a sentence per model, then a table of the fields, the most urgent first; in a pipe one line per field."""
    if not models:
        print_line("No model is guarded.")
        return
    for said in models:
        print_line(_sentence(said))
    fields = [(said, field) for said in models for field in _ordered(said, whole=whole)]
    if not fields:
        return
    print_line("")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    rows = [_TITLES, *(_row(said, field) for said, field in fields)]
    wide = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    messages = ["", *(printable(_message(field), 300) for _, field in fields)]
    for row, message in zip(rows, messages, strict=True):
        line = "  ".join(f"{text:{size}}" for text, size in zip(row, wide, strict=True)).rstrip()
        if not width:
            print_line(f"{line}  {message}".rstrip())
            continue
        print_line(click.style(line, bold=True) if row is _TITLES else line)
        if message:
            print_line(f"    {message}" if len(message) <= width - 4 else f"    {message[: width - 5]}…")


def _sentence(said: Mapping[str, Any]) -> str:
    states = Counter(_word(field) for field in said.get("fields", ()))
    parts = [f"{states[word]} {word}" for word in STATES.values() if states[word]]
    counted = f" ({count(states.total(), 'field')}: {', '.join(parts)})" if parts else ""
    alarm = said.get("alarm")
    name = printable(str(said.get("model", "")), 80)
    if isinstance(alarm, dict):
        # What moved stands beside each field.
        return f"{name}: drift, alarm raised {clock(alarm.get('raised_at'))}{counted}"
    return f"{name}: {'fields drift' if _drifts(said) else 'no drift'}{counted}"


def _drifts(said: Mapping[str, Any]) -> bool:
    return said.get("alarm") is not None or any(
        field.get("state") == "alarm" for field in said.get("fields", ())
    )


def _ordered(said: Mapping[str, Any], *, whole: bool) -> list[Mapping[str, Any]]:
    order = [*STATES]
    fields = [field for field in said.get("fields", ()) if whole or field.get("state") in _LISTED]
    return sorted(fields, key=lambda field: order.index(field["state"]) if field.get("state") in order else 0)


def _row(said: Mapping[str, Any], field: Mapping[str, Any]) -> tuple[str, ...]:
    alarm, effect = field.get("alarm") or {}, field.get("effect")
    rows = (field.get("rows") or {}).get("24h")
    return (
        printable(str(said.get("model", "")), 40),
        printable(str(field.get("field", "")), 60),
        _word(field),
        f"{effect:.2f}" if isinstance(effect, (int, float)) else "-",
        f"{rows:,}" if isinstance(rows, int) else "-",
        clock(alarm.get("raised_at")),
    )


def _word(field: Mapping[str, Any]) -> str:
    state = str(field.get("state", ""))
    return STATES.get(state, printable(state, 40))


def _message(field: Mapping[str, Any]) -> str:
    return str((field.get("alarm") or {}).get("message", ""))
