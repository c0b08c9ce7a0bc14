"""`guardproxy rules suggest`: rules proposed from recorded traffic, in a new file.

Decides where the file goes, and that none is ever written over. Which rules are proposed is left to `authoring.suggest`.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from guardproxy.authoring.approvals import Pattern, find_patterns
from guardproxy.authoring.suggest import Suggested
from guardproxy.authoring.suggest import suggest as propose
from guardproxy.cli.author_files import FAILED, INTERNAL, INVALID, PROFILES, create, fail
from guardproxy.cli.output import FORMAT, count, print_problems, printable
from guardproxy.cli.rules_load import read_profiles
from guardproxy.cli.traffic import KEY, SINCE, STORE, Traffic, recorded_option, stored_holds
from guardproxy.guard.recorded import Recorded
from guardproxy.proxy.load import Loaded


@click.command()
@recorded_option()
@click.option("--model", help="Whose traffic; only needed where several models were recorded.")
@SINCE
@PROFILES
@KEY
@STORE
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The new file; rules/MODEL.suggested.guard.yaml by default. It is never written over.",
)
@FORMAT
def suggest(
    recorded: tuple[Path, ...],
    model: str | None,
    since: float | None,
    profiles: tuple[Path, ...],
    key: tuple[str, ...],
    store: str | None,
    out: Path | None,
    format_: str,
) -> None:
    """Propose rules from recorded traffic: a new file with every rule in shadow, its evidence and its tests."""
    loaded = Loaded()
    read_profiles(profiles, loaded)
    if loaded.errors:
        print_problems(loaded.problems, loaded.texts)
        sys.exit(INVALID)
    traffic = Traffic(recorded, since)
    model = model or traffic.only_model()
    profile = loaded.profiles.get(model)
    target = out or Path("rules") / f"{_file_name(model)}.suggested.guard.yaml"
    if target.exists():
        fail(f"{target} exists already and is left alone; name another file with --out", FAILED)
    if next(traffic.of(model), None) is None:
        traffic.nothing([model])
    entity = traffic.key_of(model, (), profile, key)

    def records() -> Iterator[Recorded]:
        return traffic.again(model)

    found = propose(model, records, key=entity, profile=profile, patterns=_patterns(store, since, model))
    traffic.tell_skipped()
    if isinstance(found, str):
        fail(found, FAILED)
    if found.problems:
        print_problems(found.problems, {"suggested": found.text})
        fail(
            "what was proposed is no valid rule file, which is a mistake of guardproxy's; nothing was written",
            INTERNAL,
        )
    if not create(target, found.text):
        fail(f"{target} exists already and is left alone; name another file with --out", FAILED)
    _tell(found, target, format_)


def _patterns(store: str | None, since: float | None, model: str) -> list[Pattern]:
    return [] if store is None else find_patterns(stored_holds(store, since, model), time.time())


def _tell(found: Suggested, target: Path, format_: str) -> None:
    if format_ == "json":
        rules = [
            {
                "id": rule.id,
                "why": rule.why,
                "fired": found.fired.get(rule.id, 0),
                "judged": found.judged.get(rule.id, 0),
            }
            for rule in found.rules
        ]
        click.echo(json.dumps({"file": str(target), "rows": found.rows, "rules": rules}, indent=2))
        return
    for rule in found.rules:
        fired, judged = found.fired.get(rule.id, 0), found.judged.get(rule.id, 0)
        share = (
            f"{fired:,} of {judged:,} rows ({fired / judged:.2%})" if judged else "no row that it can judge"
        )
        click.echo(f"{rule.id}: {printable(rule.why)}; it would have flagged {share}")
    click.echo(f"{target}: {count(len(found.rules), 'rule')} in shadow, from {found.rows:,} recorded rows")


def _file_name(model: str) -> str:
    """Return a model's name as a file's: no part of it leads to another folder."""
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in model).strip(".") or "model"
