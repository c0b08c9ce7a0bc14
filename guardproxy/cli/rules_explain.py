"""`guardproxy rules explain`: how each rule judged a row, with the value of every part of its expressions.

Decides where the row comes from: a JSON file, a recording, or a running guardproxy. Judging it is left to `guard.trace`.
"""

import json
import re
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from guardproxy.cli.author_files import INVALID, PATHS, PROFILES, fail
from guardproxy.cli.client import Admin, admin_options
from guardproxy.cli.explain_text import explanation_json, explanation_lines
from guardproxy.cli.output import FORMAT, printable
from guardproxy.cli.rules_load import load_valid
from guardproxy.cli.traffic import KEY, Traffic, recorded_option
from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import RequestFacts
from guardproxy.guard import Guard
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import likely_key
from guardproxy.guard.trace import explain_row
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.load import Loaded
from guardproxy.rules import Ruleset, View
from guardproxy.source import did_you_mean
from guardproxy.table import Cell, table_from_records

MAX_FILE: Final = 16 * 1024**2
ROW_KEYS: Final = ("model", "features", "output", "previous", "request", "recent")
_HIGHEST: Final = {"hour": 23, "weekday": 6}
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
FACTS: Final = ("hour", "weekday", "date", "caller", "model_version")


@dataclass(frozen=True, slots=True)
class Subject:
    """The row to explain: its model, what rules see, and where it comes from in words, or as a record."""

    model: str
    view: View
    row: int
    source: str
    record: Recorded | None = None


@click.command()
@click.argument("what", metavar="DECISION|ROW.json")
@PATHS
@PROFILES
@recorded_option(required=False)
@click.option(
    "--row",
    type=click.IntRange(0),
    default=None,
    help="Which row of the exchange; the first that a rule violated.",
)
@click.option("--rule", "only", help="Only this rule.")
@click.option("--model", help="Whose row it is, where a file does not say it.")
@KEY
@admin_options
@FORMAT
def explain(
    what: str,
    paths: tuple[Path, ...],
    profiles: tuple[Path, ...],
    recorded: tuple[Path, ...],
    row: int | None,
    only: str | None,
    model: str | None,
    key: tuple[str, ...],
    admin: Admin,
    format_: str,
) -> None:
    """Show how each rule of PATHS (`rules` by default) judges a row: a decision, or a JSON file.

    A decision is looked up in --recorded traffic, else a running guardproxy is asked. A file holds {"features": {...}, "output": {...}} and, where rules ask for them, "previous" and "request".
    """
    loaded = load_valid(paths, profiles)
    subject = _find(what, recorded, admin, row, model, loaded)
    ruleset = loaded.rulesets.get(subject.model)
    if ruleset is None:
        fail(
            f"there are no rules of model '{subject.model}'; {did_you_mean(subject.model, loaded.rulesets)}",
            INVALID,
        )
    if only is not None and ruleset.rule(only) is None:
        fail(f"there is no rule '{only}'; {did_you_mean(only, [rule.id for rule in ruleset.rules])}", INVALID)
    guard = _guard(ruleset, loaded, key, subject.record)
    explained = explain_row(guard, subject.view, subject.row)
    if format_ == "json":
        said = {"model": subject.model, "source": subject.source, **explanation_json(explained, only)}
        click.echo(json.dumps(said, indent=2))
        return
    click.echo(f"{printable(subject.model)}, {subject.source}")
    for line in explanation_lines(explained, only):
        click.echo(line)


def _guard(ruleset: Ruleset, loaded: Loaded, key: tuple[str, ...], record: Recorded | None) -> Guard:
    profile = loaded.profiles.get(ruleset.model)
    entity = key or (() if profile is None else profile.keys)
    if not entity and record is not None:
        entity = likely_key(record, [ruleset])
    return Guard(ruleset.model, make_codec("kserve-v1", CodecOptions()), ruleset, profile, entity)


def _find(
    what: str, recorded: tuple[Path, ...], admin: Admin, row: int | None, model: str | None, loaded: Loaded
) -> Subject:
    # No decision's id has a slash in it.
    if what.endswith(".json") or "/" in what or Path(what).is_file():
        return _from_file(Path(what), model, loaded)
    if recorded:
        return _from_recording(what, Traffic(recorded), row, loaded, model)
    return _from_admin(what, admin, row)


def _from_file(path: Path, model: str | None, loaded: Loaded) -> Subject:
    document = _json(path)
    unknown = [name for name in document if name not in ROW_KEYS]
    if unknown:
        fail(f"{path}: unknown key '{unknown[0]}'; {did_you_mean(unknown[0], ROW_KEYS)}", INVALID)
    said = model or document.get("model")
    if said is None and len(loaded.rulesets) == 1:
        said = next(iter(loaded.rulesets))
    if not isinstance(said, str):
        fail(f"{path}: say whose row it is: --model, one of {', '.join(loaded.rulesets)}", INVALID)
    features = _cells(path, document, "features") or {}
    output = _cells(path, document, "output")
    previous = _cells(path, document, "previous")
    recent = _cells(path, document, "recent") or {}
    view = View(
        table_from_records([features]),
        None if output is None else table_from_records([output]),
        _facts(path, document),
        lambda _by, _row: previous,
        recent=recent,
    )
    return Subject(said, view, 0, printable(str(path)))


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror or error}", INVALID)
    if len(data) > MAX_FILE:
        fail(f"{path} is larger than {MAX_FILE // 1024**2} MiB; a row is not", INVALID)
    try:
        document = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        fail(f"{path} is not JSON: {error}", INVALID)
    except RecursionError:
        fail(f"{path} is nested too deeply for a row", INVALID)
    except ValueError:
        fail(f"{path} holds a number of more digits than can be read", INVALID)
    if not isinstance(document, dict) or "features" not in document:
        fail(f'{path} must hold one row: {{"features": {{...}}, "output": {{...}}}}', INVALID)
    return document


def _cells(path: Path, document: Mapping[str, Any], name: str) -> dict[str, Cell] | None:
    cells = document.get(name)
    if cells is None:
        return None
    if not isinstance(cells, dict):
        fail(f"{path}: '{name}' must be an object from names to values", INVALID)
    found: dict[str, Cell] = {}
    for key, value in cells.items():
        vector = isinstance(value, list) and all(item is None or type(item) in (int, float) for item in value)
        if not vector and not isinstance(value, (int, float, str, bool, type(None))):
            fail(f"{path}: {name}.{key} is neither a value nor a list of numbers", INVALID)
        found[key] = tuple(value) if vector else value
    return found


def _facts(path: Path, document: Mapping[str, Any]) -> RequestFacts:
    """Return the facts of a request: those of now, but for what the file says."""
    said = _cells(path, document, "request") or {}
    unknown = [name for name in said if name not in FACTS]
    if unknown:
        fail(f"{path}: a request has no '{unknown[0]}'; {did_you_mean(unknown[0], FACTS)}", INVALID)
    for name, value in said.items():
        wants = _wanted(name, value)
        if wants:
            fail(f"{path}: request.{name} must be {wants}", INVALID)
    return facts_at(time.time())._replace(**said)  # type: ignore[arg-type]


def _wanted(name: str, value: Cell) -> str:
    """Say what a fact of a request must be; nothing where it is."""
    if name in _HIGHEST:
        fits = type(value) is int and 0 <= value <= _HIGHEST[name]
        return "" if fits else f"a whole number from 0 to {_HIGHEST[name]}"
    if value is None and name != "date":
        return ""
    if not isinstance(value, str):
        return "text"
    return "" if name != "date" or _DATE.fullmatch(value) else "a date such as 2026-01-07"


def _from_recording(
    what: str, traffic: Traffic, row: int | None, loaded: Loaded, model: str | None
) -> Subject:
    models = loaded.rulesets if model is None else (model,)
    found = next((record for one in models for record in traffic.of(one) if record.id == what), None)
    if found is None:
        traffic.tell_skipped()
        fail(f"decision {what} is not in the recording, which keeps a sample of all exchanges", INVALID)
    return _recorded(found, row)


def _recorded(record: Recorded, row: int | None) -> Subject:
    first = min((rows[0] for rows in record.violated.values() if rows), default=0)
    number = first if row is None else row
    if number >= record.features.rows:
        fail(f"decision {record.id} has {record.features.rows} rows, counted from 0", INVALID)

    def previous(by: tuple[str, ...], at: int) -> Mapping[str, Cell] | None:
        past = record.previous.get(by)
        return None if past is None else past[at]

    view = View(record.features, record.predictions, record.facts, previous, record.identity)
    source = f"decision {printable(record.id)}, row {number}, then {record.outcomes[number]}"
    if record.redacted:
        source += f"; redacted, so missing here: {', '.join(map(printable, record.redacted))}"
    return Subject(record.model, view, number, source, record)


def _from_admin(what: str, admin: Admin, row: int | None) -> Subject:
    """Ask a running guardproxy, which remembers its latest decisions with their first rows, but not entities' pasts."""
    found, _ = admin.ask(f"/v1/decisions/{urllib.parse.quote(what, safe='')}")
    violated = [one["row"] for one in found.get("findings", ()) if one.get("verdict") == "violated"]
    number = min(violated, default=0) if row is None else row
    rows = found.get("rows", [])
    if number >= len(rows):
        fail(f"decision {what} is remembered with its first {len(rows)} rows only", INVALID)
    said = [{name: _cell(cell) for name, cell in (one.get("features") or {}).items()} for one in rows]
    answers = [one.get("predictions") for one in rows]
    whole = [{name: _cell(cell) for name, cell in one.items()} for one in answers if one is not None]
    view = View(
        table_from_records(said),
        table_from_records(whole) if len(whole) == len(rows) else None,
        facts_at(_at(found)),
        lambda _by, _row: None,
    )
    source = f"decision {printable(what)}, row {number}, then {rows[number].get('outcome')}; its past is not remembered"
    return Subject(str(found.get("model", "")), view, number, source)


def _at(found: Mapping[str, Any]) -> float:
    at = found.get("at")
    try:
        return float(at) if isinstance(at, (int, float)) else datetime.fromisoformat(str(at)).timestamp()
    except ValueError:
        return time.time()


def _cell(cell: Any) -> Cell:
    if isinstance(cell, list):
        return tuple(cell)
    return float(cell) if cell in ("inf", "-inf") else cell
