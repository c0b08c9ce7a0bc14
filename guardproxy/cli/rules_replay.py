"""`guardproxy rules replay`: what rules would have done to recorded traffic.

Decides which two sides are compared and when the difference is too much. Judging again is left to `guard.replay`.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from guardproxy.cli.author_files import DEFAULT_PATH, FAILED, INTERNAL, PROFILES, fail
from guardproxy.cli.output import FORMAT
from guardproxy.cli.replay_text import replay_json, replay_lines
from guardproxy.cli.rules_load import load_valid, other_side
from guardproxy.cli.traffic import (
    KEY,
    MODEL,
    SINCE,
    STORE,
    UNTIL,
    Reviews,
    Traffic,
    ask_for_model,
    read_reviews,
    recorded_option,
)
from guardproxy.guard.rejudge import Judge
from guardproxy.guard.replay import Difference, Replayer, Report
from guardproxy.profile.model import Profile
from guardproxy.rules import Ruleset, default_ruleset
from guardproxy.units import parse_share


def _growth(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Read `5%` or `+5%` as a share of all rows."""
    if value is None:
        return None
    try:
        return parse_share(value.strip().removeprefix("+"))
    except ValueError as error:
        raise click.BadParameter(f"{error}; write for example +5%") from None


@click.command()
@recorded_option()
@SINCE
@UNTIL
@click.option(
    "--rules",
    "old",
    type=click.Path(path_type=Path),
    help="Rule files to compare with; without it, the decisions as they were recorded.",
)
@click.option(
    "--candidate",
    type=click.Path(path_type=Path),
    help="The rule files to try; `rules` by default.",
)
@PROFILES
@MODEL
@KEY
@STORE
@click.option(
    "--minutes-per-review",
    "minutes",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="What a review takes a person.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write every differing row to a file."
)
@click.option(
    "--fail-over",
    callback=_growth,
    metavar="+PERCENT",
    help="Exit 1 when a rule's violations grow by more than this share of all rows.",
)
@click.option(
    "--max-added-holds",
    type=click.FloatRange(0),
    metavar="N",
    help="Exit 1 when more than N more rows are held a day (in all, if less than an hour was recorded).",
)
@FORMAT
def replay(
    recorded: tuple[Path, ...],
    since: float | None,
    until: float | None,
    old: Path | None,
    candidate: Path | None,
    profiles: tuple[Path, ...],
    model: str | None,
    key: tuple[str, ...],
    store: str | None,
    minutes: float,
    out: Path | None,
    fail_over: float | None,
    max_added_holds: float | None,
    format_: str,
) -> None:
    """Run recorded traffic through rule files and show what they would change.

    Two sides are compared: --candidate with --rules; with one of them alone, that one with the decisions as recorded.
    """
    new = candidate or old or DEFAULT_PATH
    loaded = load_valid((new,), profiles)
    before = None
    if candidate is not None and old is not None:
        before = other_side(old, loaded.profiles).rulesets
    models = _models(model, loaded.rulesets, before)
    traffic, reviews = Traffic(recorded, since, until), read_reviews(store, since)
    with _writer(out) as write:
        reports = [
            _replay(one, loaded.rulesets, before, loaded.profiles.get(one), traffic, key, reviews, write)
            for one in models
        ]
    reports = [report for report in reports if report.exchanges]
    if not reports:
        traffic.nothing(models)
    traffic.tell_skipped()
    _print(reports, minutes, format_)
    over = [sentence for report in reports for sentence in _too_much(report, fail_over, max_added_holds)]
    for sentence in over:
        click.echo(sentence, err=True)
    if over:
        sys.exit(FAILED)


def _models(
    model: str | None, new: Mapping[str, Ruleset], old: Mapping[str, Ruleset] | None
) -> Sequence[str]:
    known = list(dict.fromkeys((*new, *(old or ()))))
    ask_for_model(model, known)
    return known if model is None else [model]


def _replay(
    model: str,
    new: Mapping[str, Ruleset],
    old: Mapping[str, Ruleset] | None,
    profile: Profile | None,
    traffic: Traffic,
    key: tuple[str, ...],
    reviews: Reviews | None,
    write: Callable[[Difference], None] | None,
) -> Report:
    # A model without a rule file on one side has there the rules that every model has.
    sides = [
        rulesets.get(model) or default_ruleset(model, profile)
        for rulesets in (new, old)
        if rulesets is not None
    ]
    entity = traffic.key_of(model, sides, profile, key)
    judges = [Judge(ruleset, profile, entity) for ruleset in sides]
    replayer = Replayer(
        judges[1] if len(judges) > 1 else None,
        judges[0],
        None if reviews is None else reviews.resolution,
        write,
    )
    return replayer.run(traffic.of(model))


@contextmanager
def _writer(out: Path | None) -> Iterator[Callable[[Difference], None] | None]:
    """Give a function that writes one difference as a line, or None where nobody asked for a file."""
    if out is None:
        yield None
        return
    try:
        with out.open("w", encoding="utf-8") as file:

            def write(difference: Difference) -> None:
                file.write(json.dumps(difference.as_json()) + "\n")

            yield write
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror or error}", INTERNAL)


def _print(reports: Sequence[Report], minutes: float, format_: str) -> None:
    if format_ == "json":
        said: dict[str, Any] = {"models": [replay_json(report, minutes) for report in reports]}
        click.echo(json.dumps(said, indent=2))
        return
    for place, report in enumerate(reports):
        if place:
            click.echo("")
        for line in replay_lines(report, minutes):
            click.echo(line)


def _too_much(report: Report, growth: float | None, holds: float | None) -> Iterator[str]:
    """Yield a sentence for each limit that the change goes beyond."""
    for change in report.changes.values():
        more = (change.after.weighted - change.before.weighted) / report.weighted
        if growth is not None and more > growth:
            yield f"{report.model}: {change.rule} is violated on {more:.2%} more of the rows; {growth:.2%} is allowed"
    added = report.held_after.weighted - report.held_before.weighted
    rate = report.per_day(added)
    more_holds = added if rate is None else rate
    if holds is not None and more_holds > holds:
        unit = "in all" if rate is None else "a day"
        yield f"{report.model}: {more_holds:,.1f} more rows are held {unit}; {holds:g} are allowed"
