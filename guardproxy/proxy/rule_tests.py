"""The tests that rule files carry, as a condition for serving them.

Decides how much time they get and how a failure is told as a problem of the file. How a case is run is left to `guard.cases`.
"""

from collections.abc import Callable, Mapping
from typing import Final

from guardproxy.guard.cases import run_case
from guardproxy.profile.model import Profile
from guardproxy.rules import Case, Ruleset
from guardproxy.source import MAX_PROBLEMS, Problem

CODE: Final = "E330"
BUDGET_S: Final = 5.0
MAX_DIFFERENCES: Final = 5


def failing_tests(
    rulesets: Mapping[str, Ruleset],
    profiles: Mapping[str, Profile],
    clock: Callable[[], float],
    budget_s: float = BUDGET_S,
) -> list[Problem]:
    """Run every case; return a problem for each that fails, and one when `budget_s` is over before the last."""
    end = clock() + budget_s
    problems: list[Problem] = []
    for model, ruleset in rulesets.items():
        for case in ruleset.cases:
            if clock() > end or len(problems) >= MAX_PROBLEMS:
                return [*problems, _late(case, budget_s)] if clock() > end else problems
            profile = profiles.get(model)
            result = run_case(ruleset, case, profile)
            if not result.passed:
                said = "; ".join(result.differences[:MAX_DIFFERENCES])
                repair = _REPAIR if profile is None else _REPAIR_WITH_PROFILE
                problems.append(_problem(case, f"the test {case.name!r} fails: {said}", repair))
    return problems


_WITHOUT: Final = "or set `reload: {tests: false}` in guardproxy.yaml to serve rules whose tests fail"
_REPAIR: Final = f"`guardproxy rules test` shows both sides; correct the rule or the test, {_WITHOUT}"
_REPAIR_WITH_PROFILE: Final = (
    "here it ran with the profile of its route, as `guardproxy rules test --profile FILE` does: a test that passes "
    f"without one may fail with it; correct the rule or the test, {_WITHOUT}"
)


def _late(case: Case, budget_s: float) -> Problem:
    return _problem(
        case,
        f"the tests of the rules were not through after {budget_s:g} s; this one was next",
        "give the tests fewer rows, or run them elsewhere and set `reload: {tests: false}` in guardproxy.yaml",
    )


def _problem(case: Case, message: str, help_: str) -> Problem:
    return Problem(CODE, message, case.place.file, case.place.line, case.place.column, help=help_)
