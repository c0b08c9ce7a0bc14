"""Rule files and profiles as `rules check`, `test`, `explain` and `replay` read them.

Decides that every problem of every file is found in one run, today's date among what rules are checked against.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from guardproxy.cli.author_files import DEFAULT_PATH, INVALID, ask_for_folder
from guardproxy.cli.output import count, print_problems, printable
from guardproxy.decision import Mode
from guardproxy.profile.model import Profile
from guardproxy.proxy.load import Loaded, load_profile, read_rule_files
from guardproxy.rules import Rule, Ruleset, load_rulesets
from guardproxy.source import Problem, did_you_mean


def load_rules(paths: tuple[Path, ...], profiles: tuple[Path, ...]) -> Loaded:
    """Read profiles and rule files; every problem is in the result."""
    loaded = Loaded()
    named = read_profiles(profiles, loaded)
    read_rules(paths, loaded)
    loaded.problems.extend(_unused(named, loaded.rulesets))
    return loaded


def load_valid(paths: tuple[Path, ...], profiles: tuple[Path, ...]) -> Loaded:
    """Read rule files that have no errors; end the command with 2, showing every problem, when they have."""
    loaded = load_rules(paths, profiles)
    if loaded.errors:
        print_problems(loaded.problems, loaded.texts)
        sys.exit(INVALID)
    return loaded


def read_profiles(paths: tuple[Path, ...], loaded: Loaded) -> dict[str, Path]:
    """Read profiles into `loaded`; return their files by model."""
    named: dict[str, Path] = {}
    for path in paths:
        profile = load_profile(path, loaded)
        if profile is None:
            continue
        if profile.model in named:
            message = f"this is a second profile of '{profile.model}', beside {named[profile.model]}"
            loaded.problems.append(Problem("E200", message, str(path), 1, 1))
        named[profile.model] = path
        loaded.profiles[profile.model] = profile
    return named


def read_rules(paths: tuple[Path, ...], loaded: Loaded) -> None:
    """Read rule files into `loaded`, for the profiles that are there."""
    ask_for_folder(paths)
    texts = read_rule_files(paths or (DEFAULT_PATH,), loaded)
    if not texts and not loaded.errors:
        where = ", ".join(printable(str(path)) for path in paths or (DEFAULT_PATH,))
        raise click.UsageError(f"there is no rule file (*.guard.yaml) in {where}")
    today = datetime.now(tz=UTC).date()
    loaded.rulesets, problems = load_rulesets(texts, profiles=loaded.profiles, today=today)
    loaded.problems.extend(problems)


def other_side(path: Path, profiles: Mapping[str, Profile]) -> Loaded:
    """Read a second set of rule files beside profiles that were read before; end the command with 2 on an error."""
    loaded = Loaded()
    loaded.profiles.update(profiles)
    read_rules((path,), loaded)
    if loaded.errors:
        print_problems(loaded.problems, loaded.texts)
        sys.exit(INVALID)
    return loaded


def written(ruleset: Ruleset) -> list[Rule]:
    """Return the rules that stand in files."""
    return [rule for rule in ruleset.rules if not rule.built_in]


def summary(loaded: Loaded) -> str:
    """Say in a line what was read."""
    own = [rule for ruleset in loaded.rulesets.values() for rule in written(ruleset)]
    files = len({rule.place.file for rule in own})
    enforced = sum(rule.mode is Mode.ENFORCE for rule in own)
    tests = sum(len(ruleset.cases) for ruleset in loaded.rulesets.values())
    return (
        f"ok: {count(len(own), 'rule')} ({enforced} enforced) of {count(len(loaded.rulesets), 'model')} "
        f"in {count(files, 'file')}, {count(tests, 'test')}"
    )


def _unused(named: Mapping[str, Path], rulesets: Mapping[str, Ruleset]) -> list[Problem]:
    """Say which profiles belong to no rule file, since their rules then go unchecked."""
    return [
        Problem(
            "W404",
            f"this profile is of model '{model}', which no rule file is about",
            str(path),
            1,
            1,
            help=did_you_mean(model, rulesets),
            severity="warning",
        )
        for model, path in named.items()
        if model not in rulesets
    ]
