"""The check `unusual`, and fallbacks from what is remembered of an entity."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.decision import Phase, Verdict
from guardproxy.profile.model import Profile
from guardproxy.rules import View
from guardproxy.rules.past import MAX_DISTANCE, Usual, distance
from guardproxy.table import Cell
from tests.rules.build import PROFILE, rules_of, view_of

RULE = (
    "rules:\n  - id: unlike\n    unusual: {field: output.demand, by: [features.store], false_alarms: 0.1%}\n"
)
BY = ("store",)


class Remembered:
    """A past in which what is usual is given by store, with a limit of 5 spreads."""

    def __init__(
        self,
        stores: Sequence[Cell],
        usual: Mapping[Cell, Usual],
        limit: float | None = 5.0,
        estimates: Mapping[str, Cell] | None = None,
    ) -> None:
        self.stores, self.known, self.far, self.estimates = stores, usual, limit, estimates or {}
        self.asked: list[tuple[str, float | None]] = []

    def usual(self, by: tuple[str, ...], output: str) -> Sequence[Usual | None]:
        assert (by, output) == (BY, "demand")
        return [self.known.get(store) for store in self.stores]

    def limit(self, by: tuple[str, ...], output: str, false_alarms: float) -> float | None:
        assert false_alarms == 0.001
        return self.far

    def estimate(
        self, kind: str, by: tuple[str, ...], row: int, output: str, max_age_s: float | None
    ) -> Cell:
        self.asked.append((kind, max_age_s))
        return self.estimates.get(kind)


def seen(
    answers: Sequence[Cell], stores: Sequence[Cell], past: Remembered | None, text: str = RULE
) -> tuple[list[Verdict], View]:
    """Judge answers of stores by the only rule of a text; both ways of judging must agree."""
    view = view_of([{"store": store} for store in stores], [{"demand": answer} for answer in answers])
    view = view._replace(past=past)
    bound = rules_of(text).bind(("store",), ("demand",))
    plan = bound.plans[Phase.RESPONSE]
    place = next(at for at, one in enumerate(plan.rules) if one.rule.id == "unlike")
    by_row, by_column = plan.by_row(view)[place], plan.by_column(view)[place]
    assert by_row.tolist() == by_column.tolist()
    return [Verdict(code) for code in by_row.tolist()], view


USUAL = {"a": Usual(100.0, 0.1), "b": Usual(-3.0, 0.2)}


def test_an_answer_far_from_what_is_usual_of_its_entity_violates_and_a_near_one_does_not() -> None:
    answers: list[Cell] = [110.0, 1_000.0, 10.0, 0.0, -3.5, 100.0, None, 5.0]
    stores: list[Cell] = ["a", "a", "a", "a", "b", "b", "a", "stranger"]
    found, _ = seen(answers, stores, Remembered(stores, USUAL))
    ok, bad, unknown = Verdict.OK, Verdict.VIOLATED, Verdict.UNKNOWN
    assert found == [ok, bad, bad, bad, ok, bad, unknown, unknown]


def test_while_too_little_is_known_nothing_is_unusual_and_nobody_hears_of_it() -> None:
    for past in (None, Remembered(["a"], USUAL, limit=None), Remembered(["z"], USUAL)):
        found, view = seen([1_000.0], ["a"], past)
        assert found == [Verdict.UNKNOWN]
        bound = rules_of(RULE).bind(("store",), ("demand",))
        rule = next(rule for rule in bound.rules_of(Phase.RESPONSE) if rule.id == "unlike")
        assert Verdict.UNKNOWN not in rule.counts
        assert bound.warms(bound.places["unlike"], view)
        assert "too few answers" in bound.finding(rule, 0, Verdict.UNKNOWN, view).message


@pytest.mark.parametrize("answer", ["much", True, (1.0, 2.0)])
def test_what_is_no_number_is_an_error(answer: Cell) -> None:
    found, view = seen([answer], ["a"], Remembered(["a"], USUAL))
    assert found == [Verdict.ERROR]
    bound = rules_of(RULE).bind(("store",), ("demand",))
    rule = next(rule for rule in bound.rules_of(Phase.RESPONSE) if rule.id == "unlike")
    assert bound.finding(rule, 0, Verdict.ERROR, view).message


def test_the_sentence_says_what_is_usual_by_how_much_it_is_missed_and_what_would_do() -> None:
    _, view = seen([1_000.0], ["a"], Remembered(["a"], USUAL))
    bound = rules_of(RULE).bind(("store",), ("demand",))
    rule = next(rule for rule in bound.rules_of(Phase.RESPONSE) if rule.id == "unlike")
    found = bound.finding(rule, 0, Verdict.VIOLATED, view)
    assert found.message == (
        "demand is 1,000 where 100 is usual of this entity, 10 times as much: 22.9 spreads away, and all but 0.1% of the "
        "answers stay within 5"
    )
    assert found.measured == (("output.demand", 1_000.0), ("usual", 100.0))
    assert found.bound == "within 5 spreads of 100"


def test_a_whole_number_beyond_any_float_is_as_far_as_can_be() -> None:
    found, _ = seen([10**400, -(10**400)], ["a", "a"], Remembered(["a", "a"], USUAL))
    assert found == [Verdict.VIOLATED] * 2


@given(st.floats(allow_nan=False), st.floats(-1e300, 1e300), st.floats(1e-3, 1e3))
def test_a_distance_is_never_negative_and_bounded_and_none_from_itself(
    value: float, usual: float, spread: float
) -> None:
    assert 0.0 <= distance(value, Usual(usual, spread)) <= MAX_DISTANCE
    assert distance(usual, Usual(usual, spread)) == 0.0


CHAIN = """\
rules:
  - id: unlike
    require: output.demand < 500
    action: fallback
    fallback: [{seasonal: {max_age: 14d}}, rolling_median, auto, last_good, profile.p50]
"""


def offered(past: Remembered | None, profile: Profile | None = PROFILE) -> list[tuple[str, Cell]]:
    view = view_of([{"store": "a"}], [{"demand": 900.0}], lambda _by, _row: {"demand": 7.25})
    view = view._replace(past=past)
    ruleset = rules_of(CHAIN, profiles={"demand": profile} if profile else {})
    bound = ruleset.bind(("store",), ("demand",), profile, key=BY)
    rule = next(rule for rule in bound.rules_of(Phase.RESPONSE) if rule.id == "unlike")
    return [(one.source, one.values.get("demand")) for one in bound.propose(rule, 0, view)]


def test_each_link_offers_what_is_remembered_in_whole_numbers_where_the_output_has_no_others() -> None:
    past = Remembered(["a"], {}, estimates={"seasonal": 41.6, "rolling_median": 42.4, "auto": 43.0})
    assert offered(past) == [
        ("seasonal", 42.0),
        ("rolling_median", 42.0),
        ("auto", 43.0),
        ("last_good", 7.25),
        ("profile.p50", 500.0),
    ]
    assert past.asked == [("seasonal", 14 * 86_400.0), ("rolling_median", None), ("auto", None)]


def test_an_entity_of_which_nothing_is_known_falls_to_the_next_link_and_auto_itself_to_the_profile() -> None:
    nothing = [("seasonal", None), ("rolling_median", None), ("auto", None)]
    rest = [("last_good", 7.25), ("profile.p50", 500.0)]
    assert offered(Remembered(["a"], {})) == [*nothing, ("auto", 500.0), *rest]
    assert offered(None) == [*nothing, ("auto", 500.0), *rest]
    assert offered(None, None) == [*nothing, ("last_good", 7.25), ("profile.p50", None)]


@pytest.mark.parametrize("link", ["previous", "last_good", "rolling_median", "seasonal", "auto"])
def test_who_asks_for_the_past_has_its_entities_remembered(link: str) -> None:
    text = f"rules:\n  - {{id: r, range: {{field: output.demand, min: 0}}, action: fallback, fallback: [{link}]}}\n"
    assert rules_of(text).bind((), (), key=BY).history_keys == (BY,)
    assert rules_of(RULE).bind((), ()).history_keys == (BY,)
