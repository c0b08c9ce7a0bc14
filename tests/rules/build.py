"""Small makings for the tests of rules: profiles, tables, views, rulesets from text."""

from collections.abc import Callable, Mapping, Sequence

from guardproxy.decision import RequestFacts
from guardproxy.profile.model import KNOTS, FieldKind, FieldProfile, Profile, Role
from guardproxy.rules import Ruleset, View, load_rulesets
from guardproxy.source import Problem
from guardproxy.table import Cell, Table, table_from_columns, table_from_records

FACTS = RequestFacts(
    at=1_700_000_000.0, hour=22, weekday=1, date="2023-11-14", caller="shop", model_version="7"
)
HEAD = "guardproxy: 1\nmodel: demand\nowner: planning\n"


def number(
    name: str, low: float, high: float, role: Role = Role.FEATURE, *, whole: bool = False
) -> FieldProfile:
    """A number field that was uniform between its bounds."""
    knots = tuple(low + (high - low) * percent / 100 for percent in KNOTS)
    return FieldProfile(
        name,
        FieldKind.NUMBER,
        role,
        rows=7_000,
        low=low,
        high=high,
        minimum=low,
        maximum=high,
        mean=(low + high) / 2,
        std=1.0,
        knots=knots,
        whole=whole,
        required=True,
    )


def profile_of(
    features: Sequence[FieldProfile], outputs: Sequence[FieldProfile] = (), model: str = "demand"
) -> Profile:
    """A profile with these fields."""
    return Profile(
        model,
        "0123abcd",
        7_000,
        0.001,
        {one.name: one for one in features},
        {one.name: one for one in outputs},
    )


PROFILE = profile_of(
    [number("temp", 0, 40), number("last_week", 0, 500), number("price", 1, 9)],
    [number("demand", 0, 1_000, Role.OUTPUT, whole=True)],
)


def load(body: str, **known: object) -> tuple[Ruleset, list[Problem]]:
    """Load the rules of one model from the text below HEAD."""
    rulesets, problems = load_rulesets({"demand.guard.yaml": HEAD + body}, **known)  # type: ignore[arg-type]
    return rulesets["demand"], problems


def rules_of(body: str, **known: object) -> Ruleset:
    """Load rules that must be without errors."""
    ruleset, problems = load(body, **known)
    errors = [problem for problem in problems if problem.severity == "error"]
    assert errors == []
    return ruleset


def no_past(by: tuple[str, ...], row: int) -> Mapping[str, Cell] | None:
    """Nothing is remembered."""
    return None


def view_of(
    features: Sequence[Mapping[str, Cell]],
    output: Sequence[Mapping[str, Cell]] | None = None,
    previous: Callable[[tuple[str, ...], int], Mapping[str, Cell] | None] = no_past,
) -> View:
    """A view of records."""
    return View(
        table_from_records(features), None if output is None else table_from_records(output), FACTS, previous
    )


def columns(rows: int, **cells: Sequence[Cell]) -> Table:
    """A table from columns."""
    return table_from_columns(cells, rows)
