"""Which recorded rows are learned from, and as which columns."""

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.authoring.learnable import STRETCH_ROWS, TIME, fit_rows, stretches, survey
from guardproxy.decision import Outcome
from guardproxy.profile.columns import ArrayColumn, NumberColumn, TextColumn, cells_of
from guardproxy.table import Cell
from tests.guard.recorded import exchange

WORDS = [outcome.name.lower() for outcome in Outcome]


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), max_size=20))
def test_every_row_is_learned_from_or_counted_with_its_reason(words: list[list[str]]) -> None:
    records = [
        exchange(number, [{"x": 1.0}] * len(own), [{"y": 2.0}] * len(own), outcomes=own)
        for number, own in enumerate(words)
    ]
    found = survey(records)
    assert found.rows == sum(map(len, words)) == found.fit + sum(found.unfit.values())
    assert found.fit == sum(word in {"allowed", "warned"} for own in words for word in own)
    assert sum(len(batch["x"]) for batch in stretches(records, "features", ("x",))) == found.fit


def test_rows_without_a_finite_answer_are_left_out() -> None:
    broken = exchange(
        0, [{"x": 1.0}] * 3, [{"y": 2.0}] * 3, violated={"predictions-finite": (1,), "other": (0,)}
    )
    assert fit_rows(broken) == ([0, 2], {"not finite": 1})
    assert fit_rows(exchange(0, [{"x": 1.0}], None)) == ([], {"unanswered": 1})


def two_rows() -> list[dict[str, Cell]]:
    return [
        {"n": 1.0, "big": 2**60, "word": "5", "flag": True, "many": (1.0, None), "mixed": "a"},
        {"n": None, "big": 1.0, "word": None, "flag": False, "many": None, "mixed": 2.0},
    ]


def test_cells_become_columns_of_their_kind_in_the_order_of_time() -> None:
    records = [
        exchange(0, two_rows(), [{"y": 1.0}] * 2, at=100.0),
        exchange(1, [{"n": 3.0}], [{"y": 1.0}], at=90.0),
    ]
    names = ("n", "big", "word", "flag", "many", "mixed")
    (batch,) = stretches(records, "features", names)
    cells = {name: cells_of(batch[name]) for name in names}
    assert cells["n"] == (1.0, None, 3.0)
    assert cells["big"] == (float(2**60), 1.0, None)
    assert cells["word"] == ("5", None, None)
    assert cells["flag"] == ("true", "false", None)
    assert cells["many"] == ((1.0, None), None, None)
    assert cells["mixed"] == ("a", "2", None)
    kinds = [type(batch[name]) for name in names]
    assert kinds == [NumberColumn, NumberColumn, TextColumn, TextColumn, ArrayColumn, TextColumn]
    assert cells_of(batch[TIME]) == (100.0, 100.0, 100.0)


def test_a_long_recording_comes_in_stretches() -> None:
    records = [exchange(n, [{"x": float(n)}] * 1_000, [{"y": 1.0}] * 1_000) for n in range(20)]
    sizes = [len(batch["x"]) for batch in stretches(records, "features", ("x",))]
    assert sum(sizes) == 20_000
    assert max(sizes) < STRETCH_ROWS + 1_000


def test_redacted_fields_and_fields_beyond_the_limit_are_told() -> None:
    wide = {f"f{n}": 1.0 for n in range(4_100)}
    found = survey([exchange(0, [wide], [{"y": 1.0}], redacted=("features.f1", "output.y"))])
    assert len(found.features) == 3_999
    assert "f1" not in found.features
    assert found.outputs == ()
    assert found.beyond == 100
