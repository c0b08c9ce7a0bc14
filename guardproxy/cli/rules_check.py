"""`guardproxy rules check`: what is wrong with rule files, and with recorded traffic what they miss.

Decides options and exit codes (0 no error, 2 a file is invalid). What traffic says about rules is left to `guard.evidence`.
"""

import sys
from pathlib import Path

import click

from guardproxy.cli.author_files import INVALID, PATHS, PROFILES
from guardproxy.cli.output import REPORT_FORMAT, print_problems
from guardproxy.cli.rules_load import load_rules, summary
from guardproxy.cli.traffic import KEY, SINCE, Traffic, recorded_option
from guardproxy.guard.evidence import Evidence, gather, weigh, with_seen_fields
from guardproxy.guard.rejudge import Judge
from guardproxy.proxy.load import Loaded


@click.command()
@PATHS
@PROFILES
@recorded_option(required=False, name="--against")
@SINCE
@KEY
@REPORT_FORMAT
def check(
    paths: tuple[Path, ...],
    profiles: tuple[Path, ...],
    recorded: tuple[Path, ...],
    since: float | None,
    key: tuple[str, ...],
    format_: str,
) -> None:
    """Check rule files (PATHS: files or directories, `rules` by default); exit 2 when one is invalid.

    With --against, recorded traffic is held against them: fields that no row has, rules that can never fire.
    """
    loaded = load_rules(paths, profiles)
    rows = _against(loaded, Traffic(recorded, since), key) if recorded else None
    print_problems(loaded.problems, loaded.texts, format_)
    if loaded.errors:
        sys.exit(INVALID)
    if format_ == "text":
        click.echo(summary(loaded) + ("" if rows is None else f", against {rows:,} recorded rows"))


def _against(loaded: Loaded, traffic: Traffic, key: tuple[str, ...]) -> int:
    """Add what the traffic shows to the problems; return how many rows there were."""
    found: list[Evidence] = []
    for model, ruleset in loaded.rulesets.items():
        # Rules of a file with errors are not whole: only the fields are looked at then.
        judge = None
        if not loaded.errors:
            profile = loaded.profiles.get(model)
            judge = Judge(ruleset, profile, traffic.key_of(model, [ruleset], profile, key))
        evidence = gather(model, traffic.of(model), judge)
        found.append(evidence)
        if judge is not None:
            loaded.problems.extend(weigh(ruleset, evidence, loaded.texts))
    if not any(evidence.rows for evidence in found):
        traffic.nothing(loaded.rulesets)
    loaded.problems[:] = with_seen_fields(loaded.problems, found)
    traffic.tell_skipped()
    return sum(evidence.rows for evidence in found)
