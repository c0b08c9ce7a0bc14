"""`guardproxy rules test`: run the tests in rule files, once or whenever a file changes.

Decides how results are told and when they fail. Running a test is left to `guard.cases`.
"""

import fnmatch
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from guardproxy.cli.author_files import DEFAULT_PATH, FAILED, INVALID, PATHS, PROFILES
from guardproxy.cli.output import REPORT_FORMAT, count, print_problems, print_tests, printable
from guardproxy.cli.rules_load import load_rules, written
from guardproxy.documents import MAX_BYTES
from guardproxy.guard.cases import CaseResult, run_case
from guardproxy.guard.coverage import Coverage, coverage
from guardproxy.proxy.load import Loaded
from guardproxy.proxy.rule_files import digest_of
from guardproxy.rules import Case, Ruleset
from guardproxy.source import Problem

POLL_S: Final = 0.5
MAX_MISSING: Final = 20
"""Sentences about what tests have not seen; more are counted."""


@dataclass(frozen=True, slots=True)
class Tested:
    """One model's cases and what came of them."""

    ruleset: Ruleset
    results: Sequence[CaseResult]
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: patterns of names or rules, the least coverage (0 to 1), the form."""

    paths: tuple[Path, ...]
    profiles: tuple[Path, ...]
    patterns: tuple[str, ...]
    least: float
    format_: str


class _Percent(click.IntRange):
    """A whole number of per cent, with its sign or without."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        written: Any = value.strip().removesuffix("%").rstrip() if isinstance(value, str) else value
        return super().convert(written, param, ctx)


@click.command()
@PATHS
@PROFILES
@click.option(
    "-k",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only tests whose name holds this text, or that name this rule (* and ? work). May be repeated.",
)
@click.option(
    "--coverage-min",
    type=_Percent(0, 100),
    default=0,
    metavar="PERCENT",
    help="Exit 1 when the tests see less than this share of what the rules can do.",
)
@click.option("--watch", is_flag=True, help="Run again whenever a file changes; Ctrl-C ends it.")
@REPORT_FORMAT
def test(
    paths: tuple[Path, ...],
    profiles: tuple[Path, ...],
    patterns: tuple[str, ...],
    coverage_min: int,
    watch: bool,
    format_: str,
) -> None:
    """Run the tests in rule files; exit 1 when one fails, 2 when a file is invalid."""
    asked = Asked(paths, profiles, patterns, coverage_min / 100, format_)
    if watch:
        keep_testing(asked, lambda: time.sleep(POLL_S))
        return
    code = run_tests(asked)
    if code:
        sys.exit(code)


def run_tests(asked: Asked) -> int:
    """Run the tests once, print the results, return the exit code."""
    loaded = load_rules(asked.paths, asked.profiles)
    if loaded.errors:
        # Tests of a broken file would say nothing about what will run.
        print_problems(loaded.problems, loaded.texts, asked.format_)
        return INVALID
    tested = [_tested(loaded, model, asked.patterns) for model in loaded.rulesets]
    results = [result for one in tested for result in one.results]
    if asked.patterns and not results:
        click.echo(f"no test is called like {', '.join(map(printable, asked.patterns))}", err=True)
        return INVALID
    if asked.format_ == "text":
        print_results(tested, [one for one in loaded.problems if one.severity == "warning"], asked.patterns)
    else:
        print_tests([as_json(result) for result in results], asked.format_)
    short = not asked.patterns and _share(tested) < asked.least
    if short:
        click.echo(f"coverage is {_share(tested):.0%}; {asked.least:.0%} was asked for", err=True)
    return FAILED if short or not all(result.passed for result in results) else 0


def keep_testing(asked: Asked, wait: Callable[[], None]) -> None:
    """Run the tests whenever a file has changed since they ran, with a `wait` between two looks; Ctrl-C ends it."""
    paths = (*(asked.paths or (DEFAULT_PATH,)), *asked.profiles)
    before: list[str] = []
    try:
        while True:
            now = [digest_of(path, MAX_BYTES) for path in paths]
            if now != before:
                before = now
                _run_watched(asked)
            wait()
    except KeyboardInterrupt:
        click.echo("")


def _run_watched(asked: Asked) -> None:
    click.echo(f"--- {time.strftime('%H:%M:%S')}")
    try:
        run_tests(asked)
    except click.UsageError as error:
        # A file that is gone for the moment it takes to save it anew.
        click.echo(error.format_message(), err=True)


def _tested(loaded: Loaded, model: str, patterns: tuple[str, ...]) -> Tested:
    ruleset, profile = loaded.rulesets[model], loaded.profiles.get(model)
    results = [run_case(ruleset, case, profile) for case in ruleset.cases if _is_asked_for(case, patterns)]
    return Tested(ruleset, results, coverage(ruleset, results))


def _is_asked_for(case: Case, patterns: tuple[str, ...]) -> bool:
    rules = [rule for expected in case.expect for rule in expected.verdicts]
    return not patterns or any(
        pattern.lower() in case.name.lower()
        or fnmatch.fnmatchcase(case.name.lower(), pattern.lower())
        or any(fnmatch.fnmatchcase(rule, pattern) for rule in rules)
        for pattern in patterns
    )


def _share(tested: Sequence[Tested]) -> float:
    wanted = sum(one.coverage.wanted for one in tested)
    return sum(one.coverage.seen for one in tested) / wanted if wanted else 1.0


def as_json(result: CaseResult) -> dict[str, Any]:
    """Return a result in the contract's form."""
    place = result.case.place
    return {
        "file": place.file,
        "line": place.line,
        "name": result.case.name,
        "passed": result.passed,
        "verdicts": plain(result.verdicts),
        "outcome": plain(result.outcome),
        "value": plain(result.value),
        "differences": list(result.differences),
        "exceptions": {rule: name for row in result.rows for rule, name in row.excepted.items()},
    }


def plain(value: Any) -> Any:
    """Return verdicts and outcomes as their words, all else as JSON can say it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "name"):
        return str(value.name).lower()
    if isinstance(value, float) and value - value != 0.0:
        # JSON has no word for these.
        return str(value)
    return value


def print_results(
    tested: Sequence[Tested], warnings: Sequence[Problem], patterns: tuple[str, ...] = ()
) -> None:
    """Print each test in a line, what differs where one failed, then what the tests have seen of the rules."""
    for problem in warnings:
        click.echo(f"{problem.file}:{problem.line}:{problem.column}: {problem.message}", err=True)
    results = [result for one in tested for result in one.results]
    for result in results:
        _print_result(result)
    passed = sum(result.passed for result in results)
    own = [rule for one in tested for rule in written(one.ruleset)]
    said = f"{passed} passed, {len(results) - passed} failed, {count(len(own), 'rule')}"
    # A part of the tests says nothing about what all of them see.
    click.echo(said if patterns else f"{said}, {_coverage(tested)}")


def _print_result(result: CaseResult) -> None:
    place = result.case.place
    word = "ok    " if result.passed else "FAILED"
    click.echo(f"{place.file}:{place.line}  {word}  {printable(result.case.name)}")
    if result.passed:
        return
    for difference in result.differences:
        click.echo(f"    {printable(difference, 1_000)}")
    got = {rule: verdict for rule, verdict in result.verdicts.items() if verdict.name != "OK"}
    # Everything that was not just ok, so that a wrong expectation is as easy to see as a wrong rule.
    shown = ", ".join(f"{rule} {verdict.name.lower()}" for rule, verdict in got.items())
    click.echo(f"    got: {result.outcome.name.lower()}, {shown or 'every rule ok'}")
    if result.value is not None:
        click.echo(f"    served: {printable(json.dumps(plain(result.value), ensure_ascii=False), 1_000)}")


def _coverage(tested: Sequence[Tested]) -> str:
    seen, wanted = (sum(getattr(one.coverage, name) for one in tested) for name in ("seen", "wanted"))
    lacking: dict[str, list[str]] = {}
    for one in tested:
        for want in one.coverage.lacking:
            word, text = _LACKING.get(want.what, ("", str(want)))
            lacking.setdefault(word, []).append(want.rule if word else text)
    parts = [
        f"{word}: {', '.join(_cut(names))}" if word else ", ".join(_cut(names))
        for word, names in lacking.items()
    ]
    return f"verdict coverage {seen}/{wanted}" + (f" ({'; '.join(parts)})" if parts else "")


_LACKING: Final[Mapping[str, tuple[str, str]]] = {
    "violated": ("never violated in tests", ""),
    "ok": ("never ok", ""),
    "skipped": ("`when` always true", ""),
}


def _cut(names: Sequence[str]) -> list[str]:
    return [
        *names[:MAX_MISSING],
        *([f"and {len(names) - MAX_MISSING} more"] if len(names) > MAX_MISSING else []),
    ]
