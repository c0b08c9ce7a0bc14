"""What is counted for rolling functions: the same as the language says of the rows, however they come and are joined."""

import math
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.rules import Ruleset, load_rulesets
from guardproxy.rules.language import Aggregate, OpenNames, Program, aggregate_cells, compile_expression
from guardproxy.rules.model import MAX_RECENTS
from guardproxy.stats.recent import Recents, compile_recents
from guardproxy.stats.recent_tally import AnyTally, add_to, decode, encode, joined, merged
from guardproxy.stats.sketch import LARGEST
from guardproxy.table import Cell, Table, table_from_records

CELLS: st.SearchStrategy[Cell] = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([None, 0.0, 1e-3, math.inf, -math.inf, 2**60, True, "a"])
)


def ruleset(*rules: str, head: str = "") -> Ruleset:
    text = f"guardproxy: 1\nmodel: m\n{head}rules:\n" + "\n".join(f"  - {rule}" for rule in rules)
    rulesets, problems = load_rulesets({"m.guard.yaml": text}, outputs={"m": ("y",)})
    assert not [one for one in problems if one.severity == "error"], problems
    return rulesets["m"]


def recents_of(*calls: str) -> Recents:
    rules = [f"{{id: r{n}, scope: window, require: '{call} is not missing'}}" for n, call in enumerate(calls)]
    return compile_recents(ruleset(*rules).recents)


def counted(recents: Recents, xs: Sequence[Cell], ys: Sequence[Cell] | None) -> dict[str, AnyTally]:
    features = table_from_records([{"x": x} for x in xs])
    output = None if ys is None else table_from_records([{"y": y} for y in ys])
    return recents.bind(("x",), None if output is None else ("y",)).tallied(features, output)


def value_of(recents: Recents, tallies: dict[str, AnyTally], place: int = 0) -> Cell:
    one = recents.each[place]
    return tallies[one.key].value(one.function)


ALL = ("mean(features.x, 1h)", "p50(features.x, 1h)", "p99(features.x, 1h)")
RECENTS = recents_of(
    *(f"recent_{call}" for call in ALL),
    "recent_share(features.x > 3, 1h)",
    "recent_count(features.x > 3, 1h)",
)


@given(st.lists(CELLS, min_size=1, max_size=40))
def test_what_is_counted_is_what_the_language_says_of_rows_that_can_be_judged(cells: list[Cell]) -> None:
    numbers = [cell for cell in cells if not isinstance(cell, (bool, str))]
    found = counted(RECENTS, numbers or [None], None)
    for place, one in enumerate(RECENTS.each):
        argument = numbers or [None]
        if one.function in {"recent_share", "recent_count"}:
            argument = [None if cell is None else cell > 3 for cell in argument]  # type: ignore[operator]
        expected, value = aggregate_cells(one.function, argument), value_of(RECENTS, found, place)
        if one.function in {"recent_p50", "recent_p99"}:
            beyond = expected is None or abs(expected) > LARGEST  # type: ignore[arg-type]
            assert beyond or value == pytest.approx(expected, rel=0.051, abs=1e-6)
        elif expected is None:
            assert value is None
        else:
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=60)
@given(st.lists(CELLS, min_size=1, max_size=60), st.data())
def test_rows_counted_in_any_parts_and_order_come_to_the_same(cells: list[Cell], data: st.DataObject) -> None:
    whole = counted(RECENTS, cells, None)
    shuffled = data.draw(st.permutations(cells))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(cells)), max_size=3)))
    parts = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(cells)], strict=True)]
    counts = [counted(RECENTS, part, None) for part in parts if part]
    together = merged(map(encode, counts))
    assert together.keys() == whole.keys()
    assert together == {key: joined([one[key] for one in counts]) for key in together}
    for place, one in enumerate(RECENTS.each):
        assert together[one.key].failed == whole[one.key].failed
        expected, value = value_of(RECENTS, whole, place), value_of(RECENTS, together, place)
        assert value == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-6))


@given(st.lists(CELLS, min_size=1, max_size=40))
def test_tallies_survive_their_bytes_exactly(cells: list[Cell]) -> None:
    tallies = counted(RECENTS, cells, None)
    assert decode(encode(tallies)) == tallies


@settings(max_examples=200)
@given(st.binary(max_size=80), st.integers(0, 400), st.integers(0, 255))
def test_damaged_bytes_are_refused_and_never_crash(noise: bytes, place: int, byte: int) -> None:
    blob = bytearray(encode(counted(RECENTS, [1.0, 2.0, None], None)))
    blob[place % len(blob)] = byte
    for damaged in (noise, bytes(blob), blob[: place % len(blob)], zlib.compress(noise)):
        try:
            found = decode(bytes(damaged))
        except ValueError:
            continue
        assert all(isinstance(key, str) for key in found)


@pytest.mark.parametrize(
    "said",
    [
        b"[1,{}] ",
        b"[2,{}]",
        b'[1,{"k":["mean",-1,0.0,0,0,0]}]',
        b'[1,{"k":["mean",1,NaN,0,0,0]}]',
        b'[1,{"k":["flag",true,0,0]}]',
        b'[1,{"k":["flag",1]}]',
        b'[1,{"k":["spread",1.0,1.0,0,[99999],[1]]}]',
        b'[1,{"k":["spread",1.0,1.0,0,[1,2],[1]]}]',
        b'[1,{"k":["other",1]}]',
        b'[1,{"k":[]}]',
        b'[1,{"k":{"a":1}}]',
        b'[1,{"k":[["mean"],1]}]',
    ],
)
def test_bytes_of_another_version_or_with_impossible_counts_are_refused(said: bytes) -> None:
    if said == b"[1,{}] ":
        assert decode(zlib.compress(said)) == {}
        return
    with pytest.raises(ValueError, match="rolling function"):
        decode(zlib.compress(said))


def test_bytes_that_unpack_to_too_much_are_refused_unread() -> None:
    bomb = zlib.compress(b"[1,{}" + b" " * 40_000_000 + b"]")
    with pytest.raises(ValueError, match="at most"):
        decode(bomb)


def test_functions_of_one_argument_share_what_is_counted_whatever_their_windows() -> None:
    recents = recents_of(
        "recent_share(output.y == 0, 1h)", "recent_share(output.y  ==  0, 7d)", "recent_count(output.y == 0, 1d)",
        "recent_mean(output.y, 1h)",
    )  # fmt: skip
    assert len(recents.each) == 4
    assert len(recents.keys) == 2


def test_a_key_changes_with_what_the_argument_computes_and_with_nothing_else() -> None:
    head = "lists: {{bad: [{}]}}\nkpis: {{gap: {{expr: output.y - {} * features.x}}}}\n"
    rules = (
        "{id: a, scope: window, require: 'recent_share(features.x in bad, 1h) < 50%'}",
        "{id: b, scope: window, forbid: 'recent_mean(kpi.gap, 1h) > 3'}",
    )
    keys = [
        compile_recents(ruleset(*rules, head=head.format(*words)).recents).keys
        for words in (("1, 2", "2"), ("2, 1", "2"), ("1, 3", "2"), ("1, 2", "3"))
    ]
    assert keys[0] == keys[1]
    assert keys[0][0] != keys[2][0]
    assert keys[0][1] == keys[2][1]
    assert keys[0][1] != keys[3][1]
    assert keys[0][0] == keys[3][0]


def test_without_a_response_only_what_reads_predictions_counts_nothing() -> None:
    recents = recents_of("recent_mean(features.x, 1h)", "recent_mean(output.y - features.x, 1h)")
    found = counted(recents, [2.0, 4.0], None)
    assert value_of(recents, found, 0) == 3.0
    assert value_of(recents, found, 1) is None
    add_to(found, counted(recents, [1.0], [11.0]))
    assert value_of(recents, found, 1) == 10.0


def test_a_field_that_the_message_lacks_counts_nothing() -> None:
    recents = recents_of("recent_mean(features.z, 1h)")
    assert value_of(recents, counted(recents, [1.0], None)) is None


def test_rows_whose_kinds_clash_are_left_out_and_counted() -> None:
    recents = recents_of("recent_mean(features.x + 1, 1h)", "recent_share(features.x > 3, 1h)")
    found = counted(recents, [1.0, "a", 9.0], None)
    assert [value_of(recents, found, place) for place in (0, 1)] == [6.0, 0.5]
    assert [found[key].failed for key in recents.keys] == [1, 1]


def aggregate_of(argument: str) -> Aggregate:
    program = compile_expression(argument, OpenNames())
    assert isinstance(program, Program)
    return Aggregate("recent_mean", program, 3_600.0)


def test_what_rule_files_could_not_say_is_left_out_with_the_reason() -> None:
    many = {str(n): aggregate_of(f"features.x + {n}") for n in range(MAX_RECENTS + 2)}
    recents = compile_recents(
        {"past": aggregate_of("output.y - previous.y"), **many, "again": aggregate_of("features.x + 1")}
    )
    assert len(recents.keys) == MAX_RECENTS
    assert len(recents.each) == MAX_RECENTS + 1
    assert recents.left_out.keys() == {"past", "64", "65"}
    assert recents.left_out["past"].startswith("its argument reads previous")


def test_a_sum_beyond_all_floats_is_unknown_rather_than_wrong() -> None:
    recents = recents_of("recent_mean(features.x, 1h)")
    assert value_of(recents, counted(recents, [1.7e308, 1.7e308], None)) is None


def test_many_rows_are_counted_as_columns() -> None:
    block = np.arange(10_000, dtype=np.float64).reshape(1, -1)
    found = RECENTS.bind(("x",), None).tallied(Table(("x",), 10_000, block), None)
    assert value_of(RECENTS, found, 0) == 4_999.5
    assert value_of(RECENTS, found, 4) == 9_996.0
