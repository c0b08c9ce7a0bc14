"""`guardproxy rules check|test`."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from guardproxy.cli.output import FORMAT, count, print_problems
from guardproxy.decision import Mode
from guardproxy.guard.cases import CaseResult, run_cases
from guardproxy.proxy.load import Loaded, load_profile, read_rule_files
from guardproxy.rules import Rule, Ruleset, load_rulesets
from guardproxy.source import Problem, did_you_mean

FAILED: Final = 1
INVALID: Final = 2
DEFAULT_PATH: Final = Path("rules")

_PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
_PROFILES = click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A learned profile, so that field names are checked. May be given for each model.",
)


@dataclass(frozen=True, slots=True)
class _Tested:
    """One model's cases and what came of them."""

    ruleset: Ruleset
    results: Sequence[CaseResult]


@click.group()
def rules() -> None:
    """Check and test rule files."""


@rules.command()
@_PATHS
@_PROFILES
@FORMAT
def check(paths: tuple[Path, ...], profiles: tuple[Path, ...], format_: str) -> None:
    """Check rule files (PATHS: files or directories, `rules` by default); exit 2 when one is invalid."""
    loaded = _load(paths, profiles)
    print_problems(loaded.problems, loaded.texts, format_)
    if loaded.errors:
        sys.exit(INVALID)
    if format_ == "text":
        click.echo(_summary(loaded))


@rules.command()
@_PATHS
@_PROFILES
@FORMAT
def test(paths: tuple[Path, ...], profiles: tuple[Path, ...], format_: str) -> None:
    """Run the tests in rule files; exit 1 when one fails, 2 when a file is invalid."""
    loaded = _load(paths, profiles)
    if loaded.errors:
        # Tests of a broken file would say nothing about what will run.
        print_problems(loaded.problems, loaded.texts, format_)
        sys.exit(INVALID)
    tested = [
        _Tested(ruleset, run_cases(ruleset, loaded.profiles.get(model)))
        for model, ruleset in loaded.rulesets.items()
    ]
    results = [result for one in tested for result in one.results]
    if format_ == "json":
        click.echo(json.dumps({"cases": [_as_json(result) for result in results]}, indent=2))
    else:
        _print_results(tested, [problem for problem in loaded.problems if problem.severity == "warning"])
    if not all(result.passed for result in results):
        sys.exit(FAILED)


def _load(paths: tuple[Path, ...], profiles: tuple[Path, ...]) -> Loaded:
    """Read profiles and rule files; every problem is in the result."""
    loaded = Loaded()
    named: dict[str, Path] = {}
    for path in profiles:
        profile = load_profile(path, loaded)
        if profile is None:
            continue
        if profile.model in named:
            message = f"this is a second profile of '{profile.model}', beside {named[profile.model]}"
            loaded.problems.append(Problem("E200", message, str(path), 1, 1))
        named[profile.model] = path
        loaded.profiles[profile.model] = profile
    texts = read_rule_files(paths or (DEFAULT_PATH,), loaded)
    if not texts and not loaded.errors:
        where = ", ".join(str(path) for path in paths or (DEFAULT_PATH,))
        raise click.UsageError(f"there is no rule file (*.guard.yaml) in {where}")
    loaded.rulesets, problems = load_rulesets(texts, profiles=loaded.profiles)
    loaded.problems.extend(problems)
    loaded.problems.extend(_unused(named, loaded.rulesets))
    return loaded


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


def _summary(loaded: Loaded) -> str:
    own = [rule for ruleset in loaded.rulesets.values() for rule in _own(ruleset)]
    files = len({rule.place.file for rule in own})
    enforced = sum(rule.mode is Mode.ENFORCE for rule in own)
    models = len(loaded.rulesets)
    return (
        f"ok: {count(len(own), 'rule')} ({enforced} enforced) of {count(models, 'model')} in {count(files, 'file')}, "
        f"{count(sum(len(ruleset.cases) for ruleset in loaded.rulesets.values()), 'test')}"
    )


def _own(ruleset: Ruleset) -> list[Rule]:
    """Return the rules that stand in files."""
    return [rule for rule in ruleset.rules if not rule.built_in]


def _as_json(result: CaseResult) -> dict[str, Any]:
    place = result.case.place
    return {
        "file": place.file,
        "line": place.line,
        "name": result.case.name,
        "passed": result.passed,
        "verdicts": _plain(result.verdicts),
        "outcome": _plain(result.outcome),
        "value": _plain(result.value),
        "differences": list(result.differences),
    }


def _plain(value: Any) -> Any:
    """Return verdicts and outcomes as their words, all else as JSON can say it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "name"):
        return str(value.name).lower()
    if isinstance(value, float) and value - value != 0.0:
        # JSON has no word for these.
        return str(value)
    return value


def _print_results(tested: Sequence[_Tested], warnings: Sequence[Problem]) -> None:
    for problem in warnings:
        click.echo(f"{problem.file}:{problem.line}:{problem.column}: {problem.message}", err=True)
    results = [result for one in tested for result in one.results]
    for result in results:
        place = result.case.place
        click.echo(
            f"{place.file}:{place.line}  {'ok    ' if result.passed else 'FAILED'}  {result.case.name}"
        )
        for difference in result.differences if not result.passed else ():
            click.echo(f"    {difference}")
    passed = sum(result.passed for result in results)
    own = [rule for one in tested for rule in _own(one.ruleset)]
    click.echo(f"{passed} passed, {len(results) - passed} failed, {count(len(own), 'rule')}")
    unseen = [name for one in tested for name in _never_violated(one)]
    if unseen:
        click.echo(f"never violated in a test: {', '.join(unseen)}")


def _never_violated(tested: _Tested) -> list[str]:
    """Return the rules that no test has seen violated: those may be unable to fire."""
    seen = {rule for result in tested.results for rule in result.violated}
    return [rule.id for rule in _own(tested.ruleset) if rule.mode is not Mode.OFF and rule.id not in seen]
