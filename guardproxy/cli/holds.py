"""`guardproxy holds ...`: the queue from a terminal, through the admin API.

Decides the commands and how values are read. What may be decided is left to the server, how it looks to `hold_text`.
"""

import json
import math
import time
import urllib.parse
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from guardproxy.cli.client import Admin, admin_options
from guardproxy.cli.hold_text import cell, clock, print_hold, print_list
from guardproxy.cli.output import FORMAT, printable

STATES: Final = ("open", "deciding", "approved", "overridden", "rejected", "expired")

_F = TypeVar("_F", bound=Callable[..., Any])
_ID = click.argument("hold_id", metavar="HOLD")
_NOTE = click.option("--note", default="", help="A sentence for the record.")


def _reason(*words: str, default: str | None = None) -> Callable[[_F], _F]:
    return click.option(
        "--reason", type=click.Choice(words), default=default, show_default=default is not None, help="Why."
    )


_WRONG: Final = ("unit_error", "stale_feature", "model_wrong", "policy", "other")


@click.group()
def holds() -> None:
    """List held predictions and decide about them."""


@holds.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Only these states (default: open). May be repeated.",
)
@click.option("--model", help="Only this model.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
@admin_options
@FORMAT
def list_(states: tuple[str, ...], model: str | None, limit: int, admin: Admin, format_: str) -> None:
    """List holds, the most urgent first."""
    asked = tuple(dict.fromkeys(states)) or ("open",)
    query = [
        *(("state", state) for state in asked),
        ("limit", str(limit)),
        *([("model", model)] if model else []),
    ]
    found, _ = admin.ask(f"/v1/holds?{urllib.parse.urlencode(query)}")
    if format_ == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        print_list(found, asked, time.time())


@holds.command()
@_ID
@admin_options
@FORMAT
def show(hold_id: str, admin: Admin, format_: str) -> None:
    """Show HOLD: why it was held, the row, and the candidates."""
    hold, _ = admin.ask(_path(hold_id))
    if format_ == "json":
        click.echo(json.dumps(hold, indent=2))
    else:
        print_hold(hold, time.time())


@holds.command()
@_ID
@_reason("expected", "known_event", "other")
@_NOTE
@admin_options
@FORMAT
def approve(hold_id: str, reason: str | None, note: str, admin: Admin, format_: str) -> None:
    """Let the model's own answer for HOLD stand."""
    _, etag = admin.ask(_path(hold_id))
    _decide(admin, hold_id, etag, format_, decision="approve", reason=reason or "", note=note)


@holds.command()
@_ID
@click.option(
    "--value",
    "given",
    multiple=True,
    required=True,
    metavar="[NAME=]VALUE",
    help="The right prediction; repeat it for several outputs. What is left out keeps the model's value.",
)
@_reason(*_WRONG, default="other")
@_NOTE
@click.option("--force", is_flag=True, help="Even if an enforced rule speaks against it (operators only).")
@admin_options
@FORMAT
def override(
    hold_id: str, given: tuple[str, ...], reason: str, note: str, force: bool, admin: Admin, format_: str
) -> None:
    """Put another answer in the place of the model's for HOLD."""
    hold, etag = admin.ask(_path(hold_id))
    values: dict[str, Any] = {}
    for text in given:
        name, value = _assignment(text, hold["output"]["original"])
        if name in values:
            raise click.UsageError(f"{name} is given twice")
        values[name] = value
    _decide(
        admin, hold_id, etag, format_,
        decision="override", values=values, reason=reason, note=note, force=force,
    )  # fmt: skip


@holds.command()
@_ID
@_reason(*_WRONG, default="other")
@_NOTE
@admin_options
@FORMAT
def reject(hold_id: str, reason: str, note: str, admin: Admin, format_: str) -> None:
    """Refuse the model's answer for HOLD; the fallback stands."""
    _, etag = admin.ask(_path(hold_id))
    _decide(admin, hold_id, etag, format_, decision="reject", reason=reason, note=note)


@holds.command()
@_ID
@admin_options
@FORMAT
def undo(hold_id: str, admin: Admin, format_: str) -> None:
    """Take your own decision about HOLD back while there is time."""
    _, etag = admin.ask(_path(hold_id))
    answer, _ = admin.ask(f"{_path(hold_id)}/undo", body={}, if_match=etag)
    _say(answer, format_)


def _path(hold_id: str) -> str:
    return f"/v1/holds/{urllib.parse.quote(hold_id, safe='')}"


def _decide(admin: Admin, hold_id: str, etag: str | None, format_: str, **decision: Any) -> None:
    """Decide on the very revision that was read, so that a colleague's decision in between is not run over."""
    answer, _ = admin.ask(f"{_path(hold_id)}/decision", body=decision, if_match=etag)
    _say(answer, format_)


def _say(answer: dict[str, Any], format_: str) -> None:
    if format_ == "json":
        click.echo(json.dumps(answer, indent=2))
        return
    until = answer.get("undo_until")
    undo_ = (
        f", becomes final at {clock(until)}; until then: guardproxy holds undo {answer['id']}"
        if until
        else ""
    )
    click.echo(f"{answer['id']}: {answer['state']}{undo_}")


def _assignment(text: str, original: dict[str, Any]) -> tuple[str, Any]:
    """Read `NAME=VALUE`, or `VALUE` alone where there is one prediction, as the kind of value that stands there."""
    # Names and text may hold `=` themselves: the longest name that fits is meant.
    fitting = [name for name in original if text.startswith(f"{name}=")]
    if fitting:
        name = max(fitting, key=len)
        return name, _value(name, original[name], text[len(name) + 1 :])
    if len(original) == 1:
        (name,) = original
        if "=" not in text or isinstance(original[name], str):
            return name, _value(name, original[name], text)
    names = ", ".join(printable(name) for name in original)
    raise click.UsageError(f"--value {printable(text)!r}: write NAME=VALUE, with one of: {names}")


def _value(name: str, original: Any, text: str) -> Any:
    # The API's own reading of a form, so that a terminal and the console agree.
    from guardproxy.admin.deciding import parse_cell

    stood = tuple(original) if isinstance(original, list) else 0.0 if isinstance(original, dict) else original
    try:
        value = parse_cell(stood, text)
    except ValueError as error:
        raise click.UsageError(
            f"--value {printable(name)}: {error}; the model said {cell(original)}"
        ) from None
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            raise click.UsageError(f"--value {printable(name)}: a prediction must be finite")
    return value
