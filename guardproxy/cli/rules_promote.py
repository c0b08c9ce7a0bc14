"""`guardproxy rules promote`: one rule, one step, one line.

Decides options, questions and exit codes (0 done, 1 something is missing or refused, 2 a file is invalid). What a rule needs
and how the line is edited is decided by `authoring.promote`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from guardproxy.authoring.promote import (
    Evidence,
    Target,
    changed_only,
    failing_after,
    is_down,
    lacking,
    parse_target,
    recorded_evidence,
    with_mode,
)
from guardproxy.cli.author_files import (
    FAILED,
    INVALID,
    PATHS,
    PROFILES,
    Files,
    fail,
    load_files,
    replace_text,
    show_diff,
)
from guardproxy.cli.output import printable
from guardproxy.decision import Mode
from guardproxy.guard.cases import run_cases
from guardproxy.rules import Rule, Ruleset, load_rulesets
from guardproxy.source import did_you_mean

_SHARES: Final = 12
"""A share behind `--to canary` is at most this long; anything longer is a path."""


@click.command()
@click.argument("rule")
@PATHS
@PROFILES
@click.option("--to", "to", required=True, help="off, shadow, 'canary 20%' or enforce.")
@click.option("--model", help="Whose rule, where several models have one of this id.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--force", is_flag=True, help="Write although something is missing; what it is gets printed.")
@click.option(
    "--recorded",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Recorded traffic that must have judged the rule.",
)
@click.option(
    "--min-rows", default=1_000, show_default=True, type=click.IntRange(1), help="Recorded rows it needs."
)
def promote(
    rule: str,
    paths: tuple[Path, ...],
    profiles: tuple[Path, ...],
    to: str,
    model: str | None,
    yes: bool,
    force: bool,
    recorded: tuple[Path, ...],
    min_rows: int,
) -> None:
    """Change the mode of RULE, one step up or any number down, by an edit of one line.

    Up needs owner and why (high and critical severity), passing tests with both verdicts and, with --recorded, enough
    recorded rows. Exit 1 when something is missing.
    """
    if (
        to.strip() == Mode.CANARY.value
        and paths
        and str(paths[0]).endswith("%")
        and len(str(paths[0])) < _SHARES
    ):
        # `--to canary 20%` without quotes reaches us as a path.
        to, paths = f"{to} {paths[0]}", paths[1:]
    try:
        target = parse_target(to)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    files = load_files(paths, profiles)
    ruleset, found = _find(rule, model, files)
    if found.mode is target.mode and (target.mode is not Mode.CANARY or found.canary == target.share):
        click.echo(f"{found.id} of {ruleset.model} is in mode {target.text} already; nothing to do")
        return
    file = found.place.file
    try:
        text = with_mode(files.texts[file], found, target)
    except ValueError as error:
        fail(f"{file}: {error}", FAILED)
    after = {**files.texts, file: text}
    wrong = changed_only(files.texts, after, found.id)
    missing = _missing(files, after, ruleset, found, target, _evidence(recorded, min_rows, files), wrong)
    # What would make the files wrong is not a matter of force.
    _refuse([*missing, *wrong], found, ruleset, force=force and not wrong)
    _write_mode(files, file, text, found, ruleset, target, yes=yes)


def _missing(
    files: Files,
    after: dict[str, str],
    ruleset: Ruleset,
    rule: Rule,
    target: Target,
    evidence: Evidence | None,
    wrong: Sequence[str],
) -> list[str]:
    """Return what keeps a rule back. On the way down that is nothing, but tests that would fail are named."""
    profile = files.profiles.get(ruleset.model)
    results = run_cases(ruleset, profile)
    missing = lacking(ruleset, rule, target, results, evidence)
    if wrong:
        return missing
    promoted, _ = load_rulesets(after, profiles=files.profiles)
    failing = failing_after(run_cases(promoted[ruleset.model], profile), results)
    if not is_down(rule, target):
        return missing + failing
    for sentence in failing:
        click.echo(f"note: {printable(sentence, 400)}", err=True)
    return missing


def _find(rule: str, model: str | None, files: Files) -> tuple[Ruleset, Rule]:
    if model is not None and model not in files.rulesets:
        raise click.UsageError(
            f"there is no model '{printable(model)}'; {did_you_mean(model, files.rulesets)}"
        )
    wanted = [files.rulesets[model]] if model is not None else list(files.rulesets.values())
    found = [(one, each) for one in wanted if (each := one.rule(rule)) is not None and not each.built_in]
    places = {each.place for _, each in found}
    if len(places) > 1:
        models = ", ".join(printable(one.model) for one, _ in found)
        raise click.UsageError(
            f"several models have a rule '{printable(rule)}' ({models}): say which with --model"
        )
    if not found:
        known = [each.id for one in wanted for each in one.rules if not each.built_in]
        raise click.UsageError(
            f"there is no rule '{printable(rule)}' in the files; {did_you_mean(rule, known)}"
        )
    return found[0]


def _evidence(recorded: tuple[Path, ...], min_rows: int, files: Files) -> Evidence | None:
    if not recorded:
        return None
    from guardproxy.recording import RecordingError, read_recording

    def look(ruleset: Ruleset, rule: Rule, mode: Mode) -> Sequence[str]:
        profile = files.profiles.get(ruleset.model)
        try:
            records = read_recording(recorded, model=ruleset.model)
            told = recorded_evidence(ruleset, rule, mode, records, min_rows, profile)
        except RecordingError as error:
            fail(str(error), INVALID)
        click.echo(told.seen)
        return told.missing

    return look


def _refuse(missing: Sequence[str], rule: Rule, ruleset: Ruleset, *, force: bool) -> None:
    if not missing:
        return
    head = "promoted all the same (--force), although" if force else "is not promoted:"
    click.echo(f"{rule.id} of {printable(ruleset.model)} {head}", err=True)
    for sentence in missing:
        click.echo(f"  - {printable(sentence, 400)}", err=True)
    if not force:
        sys.exit(FAILED)


def _confirmed() -> bool:
    try:
        return click.confirm("write it?", err=True)
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise
        click.echo("", err=True)
        fail("nothing was written: there is nobody to ask, and --yes writes without asking", FAILED)


def _write_mode(
    files: Files, file: str, text: str, rule: Rule, ruleset: Ruleset, target: Target, *, yes: bool
) -> None:
    show_diff({file: (files.texts[file], text)})
    if not yes and not _confirmed():
        fail("nothing was written", FAILED)
    replace_text(file, text)
    was = f"canary {rule.canary * 100:g}%" if rule.mode is Mode.CANARY else rule.mode.value
    click.echo(f"{rule.id} of {printable(ruleset.model)}: {was} -> {target.text}")
