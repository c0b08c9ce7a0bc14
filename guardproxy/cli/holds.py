"""`guardproxy holds ...`: the queue from a terminal, through the admin API.

Decides how holds are printed. What may be decided is left to the server.
"""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from guardproxy.cli.output import FORMAT

TIMEOUT_S: Final = 10
DEFAULT_ADMIN: Final = "http://127.0.0.1:8081"

_ADMIN = click.option(
    "--admin",
    default=DEFAULT_ADMIN,
    envvar="GUARDPROXY_ADMIN_URL",
    show_default=True,
    help="The admin plane's address.",
)
_TOKEN = click.option(
    "--token-file", type=click.Path(path_type=Path), help="A file with the token; else GUARDPROXY_TOKEN."
)
_NOTE = click.option("--note", default="", help="A sentence for the record.")
_REASON = click.option("--reason", default="other", help="Why, in one of the words the console offers.")


@click.group()
def holds() -> None:
    """List held predictions and decide about them."""


@holds.command("list")
@click.option("--state", multiple=True, help="Only these states (default: open).")
@click.option("--model", help="Only this model.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@_ADMIN
@_TOKEN
@FORMAT
def list_(
    state: tuple[str, ...], model: str | None, limit: int, admin: str, token_file: Path | None, format_: str
) -> None:
    """List holds, the most urgent first."""
    query = (
        [("state", s) for s in (state or ("open",))]
        + [("limit", str(limit))]
        + ([("model", model)] if model else [])
    )
    found, _ = _ask(admin, token_file, f"/v1/holds?{urllib.parse.urlencode(query)}")
    if format_ == "json":
        click.echo(json.dumps(found, indent=2))
        return
    table = Table("id", "state", "severity", "model", "rule", "original", "now", "expires")
    for hold in found["holds"]:
        output = hold.get("output", {})
        table.add_row(
            hold["id"], hold["state"], hold["severity"], hold["model"], hold["rule"],
            _values(output.get("original")), _values(output.get("provisional")), _time(hold["expires_at"]),
        )  # fmt: skip
    Console().print(table if found["holds"] else "No holds.")


@holds.command()
@click.argument("hold_id")
@_ADMIN
@_TOKEN
@FORMAT
def show(hold_id: str, admin: str, token_file: Path | None, format_: str) -> None:
    """Show one hold: why it was held, the row, and the candidates."""
    hold, _ = _ask(admin, token_file, f"/v1/holds/{urllib.parse.quote(hold_id, safe='')}")
    if format_ == "json":
        click.echo(json.dumps(hold, indent=2))
        return
    for key, value in hold.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        click.echo(f"{key:14} {text[:400]}")


@holds.command()
@click.argument("hold_id")
@_NOTE
@_ADMIN
@_TOKEN
def approve(hold_id: str, note: str, admin: str, token_file: Path | None) -> None:
    """Let the model's own answer stand."""
    _decide(hold_id, {"decision": "approve", "note": note}, admin, token_file)


@holds.command()
@click.argument("hold_id")
@click.option(
    "--value", "values", multiple=True, required=True, metavar="[NAME=]NUMBER", help="The right prediction."
)
@_REASON
@_NOTE
@_ADMIN
@_TOKEN
def override(
    hold_id: str, values: tuple[str, ...], reason: str, note: str, admin: str, token_file: Path | None
) -> None:
    """Put another answer in the model's place."""
    hold, _ = _ask(admin, token_file, f"/v1/holds/{urllib.parse.quote(hold_id, safe='')}")
    names = list((hold.get("output", {}).get("original") or {}).keys())
    given = dict(_assignment(text, names) for text in values)
    _decide(
        hold_id, {"decision": "override", "values": given, "reason": reason, "note": note}, admin, token_file
    )


@holds.command()
@click.argument("hold_id")
@_REASON
@_NOTE
@_ADMIN
@_TOKEN
def reject(hold_id: str, reason: str, note: str, admin: str, token_file: Path | None) -> None:
    """Refuse the model's answer; the fallback stands."""
    _decide(hold_id, {"decision": "reject", "reason": reason, "note": note}, admin, token_file)


def _decide(hold_id: str, decision: dict[str, Any], admin: str, token_file: Path | None) -> None:
    path = f"/v1/holds/{urllib.parse.quote(hold_id, safe='')}"
    _, etag = _ask(admin, token_file, path)
    answer, _ = _ask(admin, token_file, f"{path}/decision", body=decision, if_match=etag)
    undo = answer.get("undo_until")
    click.echo(f"{hold_id}: {answer['state']}" + (f", may be undone until {_time(undo)}" if undo else ""))


def _assignment(text: str, names: list[str]) -> tuple[str, float]:
    name, equals, number = text.rpartition("=")
    if not equals:
        if len(names) != 1:
            raise click.UsageError(f"write NAME=NUMBER, with one of: {', '.join(names)}")
        name = names[0]
    try:
        return name, float(number)
    except ValueError:
        raise click.UsageError(f"{number!r} is not a number") from None


def _ask(
    admin: str,
    token_file: Path | None,
    path: str,
    *,
    body: dict[str, Any] | None = None,
    if_match: str | None = None,
) -> tuple[dict[str, Any], str | None]:
    if not admin.startswith(("http://", "https://")):
        raise click.UsageError("--admin must begin with http:// or https://")
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    token = token_file.read_text().strip() if token_file is not None else os.environ.get("GUARDPROXY_TOKEN")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if if_match:
        headers["If-Match"] = if_match
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(admin.rstrip("/") + path, data, headers)  # noqa: S310 - the scheme was checked
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - the scheme was checked
            return json.load(response), response.headers.get("ETag")
    except urllib.error.HTTPError as error:
        click.echo(f"guardproxy: {error.code}: {_detail(error)}", err=True)
        sys.exit(1)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        click.echo(f"guardproxy: {admin} cannot be reached: {getattr(error, 'reason', error)}", err=True)
        sys.exit(1)


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        said = json.loads(error.read(65_536))
    except ValueError:
        return error.reason
    return str(said.get("detail") or said.get("title") or error.reason)


def _values(values: Any) -> str:
    if not isinstance(values, dict):
        return "-"
    return (
        ", ".join(f"{n}={v:.6g}" if isinstance(v, float) else f"{n}={v}" for n, v in list(values.items())[:3])
        or "-"
    )


def _time(at: Any) -> str:
    return at if isinstance(at, str) else datetime.fromtimestamp(float(at), UTC).isoformat(timespec="seconds")
