"""What is written is what is read, and a line from elsewhere is believed only when it is a record."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import RequestFacts
from guardproxy.recording import Recorded
from guardproxy.recording.encode import (
    MAX_ROWS,
    Decoder,
    Encoder,
    MalformedError,
    header_line,
    read_header,
)
from guardproxy.table import Table
from tests.recording.samples import CELLS, TEXTS, facts, same, tables

PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ROWS = st.dictionaries(TEXTS, CELLS, max_size=3)


@st.composite
def records(draw: st.DrawFn) -> Recorded:
    rows = draw(st.integers(0, 4))
    known = RequestFacts(
        draw(st.floats(0, 4e9)), 3, 2, "2026-11-25", draw(st.none() | TEXTS), draw(st.none() | TEXTS)
    )
    past = st.lists(st.none() | ROWS, min_size=rows, max_size=rows).map(tuple)
    return Recorded(
        draw(PLAIN),
        known.at,
        "demand",
        draw(PLAIN),
        known,
        draw(tables(rows)),
        draw(st.none() | tables(rows)),
        draw(st.dictionaries(st.lists(TEXTS, max_size=2, unique=True).map(tuple), past, max_size=2)),
        tuple(draw(st.lists(st.sampled_from(["allowed", "held"]), min_size=rows, max_size=rows))),
        draw(
            st.dictionaries(
                TEXTS,
                st.lists(st.sampled_from(range(rows)), max_size=3).map(tuple) if rows else st.just(()),
                max_size=3,
            )
        ),
        tuple(draw(st.lists(PLAIN, max_size=2))),
        draw(st.floats(1, 1e9)),
        draw(st.binary(max_size=16)),
        tuple(draw(st.lists(TEXTS, max_size=2))),
    )


@given(st.lists(records(), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_every_record_comes_back_as_it_was(written: list[Recorded]) -> None:
    encoder, decoder = Encoder(), Decoder("demand")
    lines = b"".join(encoder.encode(record) for record in written).split(b"\n")
    read = [record for record in map(decoder.decode, lines[:-1]) if record is not None]
    assert len(read) == len(written)
    for before, after in zip(written, read, strict=True):
        assert same(before.features, after.features)
        assert same(before.predictions, after.predictions)
        for name in Recorded.__dataclass_fields__:
            if name not in {"features", "predictions", "previous"}:
                assert getattr(after, name) == getattr(before, name), name
        # 5 and 5.0 are different cells, and a vector's missing part is None.
        assert repr(after.previous) == repr(before.previous)


def test_a_row_of_plain_numbers_is_read_without_a_block() -> None:
    record = plain()
    decoder = Decoder("demand")
    lines = Encoder().encode(record).split(b"\n")
    read = [decoder.decode(line) for line in lines[:-1]][-1]
    assert read is not None
    assert read.features.complete
    assert read.features.single() == [1.5, 2.0]


def test_names_are_written_once_and_shared_by_the_tables() -> None:
    encoder, decoder = Encoder(), Decoder("demand")
    first, second = encoder.encode(plain()), encoder.encode(plain())
    assert b'"names"' in first
    assert b'"names"' not in second
    again = Encoder().encode(plain())
    read = [decoder.decode(line) for part in (first, second, again) for line in part.split(b"\n") if line]
    shapes = {id(record.features.fields) for record in read if record is not None}
    assert len(shapes) == 1


@pytest.mark.parametrize("model", ["demand", "größe/ü", "a\ud800", ""])
def test_a_header_names_the_model(model: str) -> None:
    assert read_header(header_line(model, 1.0)) == (1, model)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"null", b"1", b"\xff", b'{"guardproxy_recording": "1", "model": "a"}', b"[" * 5000],
)
def test_what_has_no_header_is_no_recording(line: bytes) -> None:
    with pytest.raises(MalformedError):
        read_header(line)


LIES: dict[str, list[object]] = {
    "id": [5, None],
    "ruleset": [None, {}],
    "facts": [
        [1.0, 2, 3],
        [1, 2, 3, "d", None, None],
        [1.0, "2", 3, "d", None, None],
        [1.0, 2, 3, 4, None, None],
        {},
    ],
    "features": [None, {}, "abc", [99, 1, [1.0, 2.0]]],
    "predictions": [[99, 1, [1.0]], "abc", 1, [0, 0, []]],
    "previous": [
        [[0, []]],
        [[0, [None, None]]],
        [[0, [[0, [1.0]]]]],
        [[99, [None]]],
        [[0, [[0, [[1.0], 2.0]]]]],
        1,
    ],
    "outcomes": [[1], {}, [], ["allowed", "allowed"], None],
    "violated": [[["r", [-1]]], [["r", [1]]], [["r", [0.5]]], [[1, [0]]], "r", 1],
    "holds": [[None], 1, None],
    "weight": [0.5, -1, "1", None],
    "identity": ["xyz", None, 5],
    "redacted": [["a", 1], [["a"]], None, 1],
}


@pytest.mark.parametrize(("key", "wrong"), [(key, wrong) for key, lies in LIES.items() for wrong in lies])
def test_a_record_with_a_wrong_value_is_refused(key: str, wrong: object) -> None:
    names, line = Encoder().encode(plain()).split(b"\n")[:2]
    decoder = Decoder("demand")
    decoder.decode(names)
    with pytest.raises(MalformedError):
        decoder.decode(orjson.dumps({**orjson.loads(line), key: wrong}))


@pytest.mark.parametrize("key", LIES)
def test_a_record_that_lacks_something_is_refused(key: str) -> None:
    names, line = Encoder().encode(plain()).split(b"\n")[:2]
    decoder = Decoder("demand")
    decoder.decode(names)
    said = orjson.loads(line)
    del said[key]
    with pytest.raises(MalformedError):
        decoder.decode(orjson.dumps(said))


@pytest.mark.parametrize(
    "table",
    [
        [0, 1, [1.0]],
        [0, 1, ["a", 2.0]],
        [0, 1, [True, 2.0]],
        [0, 1, [1.0, 2.0], {"exact": [[7, ["a"]]]}],
        [0, 1, [2.0], {"exact": [[0, ["a", "b"]]]}],
        [0, 1, [2.0], {"exact": [[0, [{"z": 1}]]]}],
        [0, 1, [2.0], {"exact": [[0, [{"v": ["a"]}]]]}],
        [0, 1, [1.0, 2.0], {"inf": [9]}],
        [0, 1, [1.0, 2.0], {"inf": [-1]}],
        [0, -1, []],
        [0, MAX_ROWS + 1, []],
        [0, 1.0, [1.0, 2.0]],
        [0, True, [1.0, 2.0]],
        [{}, 1, [1.0, 2.0]],
    ],
)
def test_a_table_whose_cells_do_not_fill_it_is_refused(table: object) -> None:
    names, line = Encoder().encode(plain()).split(b"\n")[:2]
    decoder = Decoder("demand")
    decoder.decode(names)
    with pytest.raises(MalformedError):
        decoder.decode(orjson.dumps({**orjson.loads(line), "features": table}))


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | PLAIN, st.lists, max_leaves=5).map(repr).map(str.encode)
)
@settings(max_examples=100, deadline=None)
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    with pytest.raises(MalformedError):
        Decoder("demand").decode(noise)


def plain() -> Recorded:
    return Recorded(
        "dec_1",
        1.0,
        "demand",
        "abc",
        facts(1.0),
        Table(("a", "b"), 1, None, single=[1.5, 2.0]),
        None,
        {},
        ("allowed",),
        {},
    )
