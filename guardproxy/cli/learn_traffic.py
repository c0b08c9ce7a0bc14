"""`guardproxy learn --from-traffic`: a profile of what the proxy recorded, which only counts until a person approves it.

Decides how many rows are enough, what is done with fewer, and what is told before anybody approves. Which rows are fit to be
learned from is left to `authoring.learnable`, what would be flagged to `authoring.outlook`.
"""

import shlex
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import numpy as np

from guardproxy.authoring.learnable import TIME, Survey, stretches, survey
from guardproxy.authoring.outlook import Outlook, look_ahead
from guardproxy.cli.learn_files import SEED, Wanted
from guardproxy.cli.learn_out import InputError, make_room, now, shorten, summarise, write_profile
from guardproxy.cli.output import count, printable
from guardproxy.cli.traffic import Traffic
from guardproxy.profile.document import stamp
from guardproxy.profile.learn import MIN_ROWS, Learner
from guardproxy.profile.model import Origin, Profile, Provenance
from guardproxy.profile.provisional import widened
from guardproxy.source import did_you_mean
from guardproxy.stores.dataset import names_of

ENOUGH: Final = 3_000
"""So many rows show at 95 % confidence that no more than a thousandth is flagged: ln 0.05 / ln 0.999 is 2,995."""

WHOLE_WEEK_S: Final = 7 * 86_400.0
MAX_TOLD: Final = 10


def learn_traffic(folders: tuple[Path, ...], wanted: Wanted, out: Path, *, provisional: bool) -> None:
    """Learn from recorded traffic, say what would have been flagged, and write the profile. Raises InputError."""
    make_room(out, folders)
    traffic = Traffic(folders)
    found = survey(traffic.of(wanted.model))
    if not found.rows:
        traffic.nothing([wanted.model])
    traffic.tell_skipped()
    _refuse_few(found, wanted.model, provisional=provisional)
    key = traffic.key_of(wanted.model, (), None, wanted.key)
    features = _features(found, wanted.key, wanted.skip)
    wanted = wanted._replace(key=tuple(name for name in key if name in features))
    try:
        profile, notes = _learned(traffic, wanted, found, features, provisional=provisional)
    except ValueError as error:
        raise InputError(f"the recorded traffic of '{wanted.model}': {error}") from error
    outlook = look_ahead(profile, traffic.again(wanted.model))
    replaced = write_profile(out, profile)
    summarise(profile, out, replaced, [*profile.notes, *notes])
    _tell(outlook, out)


def _refuse_few(found: Survey, model: str, *, provisional: bool) -> None:
    least = MIN_ROWS if provisional else ENOUGH
    if found.fit >= least:
        return
    there = f"{found.fit:,} recorded rows of '{printable(model)}' can be learned from"
    left_out = f" ({_unfit(found)})" if found.unfit else ""
    help_ = "let the proxy record more"
    if not provisional and found.fit >= MIN_ROWS:
        help_ += ", or be content with wider bounds: --provisional"
    raise InputError(f"{there}{left_out}, and {least:,} are needed; {help_}")


def _unfit(found: Survey) -> str:
    said = ", ".join(f"{number:,} {word}" for word, number in found.unfit.most_common())
    return f"left out: {said}"


def _features(found: Survey, key: tuple[str, ...], skip: tuple[str, ...]) -> tuple[str, ...]:
    for name in (*key, *skip):
        if name not in found.features:
            if f"features.{name}" in found.redacted:
                raise InputError(
                    f"the feature '{name}' was redacted in the recording: nothing is known of it"
                )
            help_ = did_you_mean(name, found.features)
            raise InputError(f"no recorded row has the feature '{name}'" + (f"; {help_}" if help_ else ""))
    features = tuple(name for name in found.features if name not in skip)
    if not features:
        raise InputError("no feature is left to learn from")
    return features


def _learned(
    traffic: Traffic, wanted: Wanted, found: Survey, features: tuple[str, ...], *, provisional: bool
) -> tuple[Profile, list[str]]:
    """Learn features and outputs apart: one name may be both. Returns the profile and the learner's notes."""
    provenance = Provenance(
        file=names_of(path.name or str(path) for path in traffic.paths),
        learned_at=now(),
        command=_command(traffic.paths, wanted, provisional=provisional),
    )
    notes: list[str] = []

    def learn(space: str, names: tuple[str, ...]) -> Profile:
        learner = Learner(
            wanted.model,
            rng=np.random.default_rng(SEED),
            target=names if space == "output" else (),
            keys=wanted.key if space == "features" else (),
            time=TIME,
            alpha=wanted.alpha,
        )
        for stretch in stretches(traffic.again(wanted.model), space, names):
            learner.update(stretch)
        profile = learner.finish(provenance)
        notes.extend(learner.notes)
        return profile

    profile = learn("features", features)
    if found.outputs:
        answers = learn("output", found.outputs)
        profile = replace(profile, outputs=answers.outputs, output_calibration=answers.output_calibration)
    profile = replace(
        profile,
        source=Origin.TRAFFIC,
        notes=(*profile.notes, *_notes(found, provisional=provisional and found.fit < ENOUGH)),
    )
    return stamp(widened(profile) if provisional and found.fit < ENOUGH else profile), notes


def _notes(found: Survey, *, provisional: bool) -> list[str]:
    said = [
        f"learned from recorded traffic, {_day(found.first)} to {_day(found.last)}: "
        f"{found.fit:,} of {found.rows:,} rows" + (f"; {_unfit(found)}" if found.unfit else "")
    ]
    if provisional:
        said.append(f"provisional: fewer than {ENOUGH:,} rows; every bound is wider than they would make it")
    if found.last - found.first < WHOLE_WEEK_S:
        said.append("the recording covers less than a week: what is normal on other days is not in it")
    if found.redacted:
        said.append(f"redacted in the recording, so nothing is known of them: {_listed(found.redacted)}")
    if found.beyond:
        said.append(
            "the recording has more fields than a profile can hold, or some with names that it cannot; those that came last "
            "and those are left out"
        )
    return said


def _tell(outlook: Outlook, out: Path) -> None:
    click.echo(
        f"  it would have flagged {_share(outlook.flagged, outlook.rows)} of the rows it was learned from"
    )
    if outlook.left_out:
        click.echo(
            f"  and {_share(outlook.left_out_flagged, outlook.left_out)} of the rows that were left out"
        )
    for name, flagged in outlook.by_field.most_common(MAX_TOLD):
        click.echo(f"    {printable(name)}: {count(flagged, 'row')}")
    if len(outlook.by_field) > MAX_TOLD:
        click.echo(f"    and {len(outlook.by_field) - MAX_TOLD} more fields")
    for example in outlook.examples:
        click.echo(f"  for example {printable(example, 400)}")
    click.echo(
        f"  rules on this profile count and do not act until somebody approves it: guardproxy profile approve {out}"
    )


def _share(flagged: int, rows: int) -> str:
    return f"{flagged:,} of {rows:,} ({flagged / rows:.2%})" if rows else "none"


def _listed(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = len(listed) - MAX_TOLD
    return ", ".join(listed[:MAX_TOLD]) + (f" and {more:,} more" if more > 0 else "")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _command(folders: Iterable[Path], wanted: Wanted, *, provisional: bool) -> str:
    words = ["guardproxy", "learn"]
    words += [word for path in folders for word in ("--from-traffic", path.name or str(path))]
    words += [*wanted.options(), *(["--provisional"] if provisional else [])]
    return shorten(shlex.join(words))
