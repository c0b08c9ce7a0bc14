import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.codecs.json_spans import Path, find_spans, replace_spans, value_at
from guardproxy.errors import PatchError

_SPACES = ["", "", "", " ", "  ", "\n", "\r\n\t"]


def _document(dice: random.Random, depth: int) -> Any:
    kind = dice.randrange(9 if depth else 6)
    if kind == 0:
        return dice.choice([None, True, False])
    if kind == 1:
        return dice.choice([0, -1, 2**60 + 1, dice.randrange(-1000, 1000)])
    if kind == 2:
        return dice.choice([0.5, -0.0, 1e22, 1e-300, dice.gauss(0, 1), float("inf"), float("-inf")])
    if kind <= 5:
        return "".join(dice.choice('ab"\\[]{}:,\n\u00e9\u20ac\U0001f600 ') for _ in range(dice.randrange(6)))
    if kind == 6:
        return {f"k{dice.randrange(50)}\u00e9": _document(dice, depth - 1) for _ in range(dice.randrange(5))}
    return [_document(dice, depth - 1) for _ in range(dice.randrange(6))]


def _written(value: Any, dice: random.Random) -> str:
    """Write JSON with blanks at random in every place where they may stand."""

    def gap() -> str:
        return dice.choice(_SPACES)

    if isinstance(value, dict):
        inner = ",".join(
            f"{gap()}{json.dumps(key, ensure_ascii=dice.random() < 0.5)}{gap()}:{gap()}{_written(item, dice)}{gap()}"
            for key, item in value.items()
        )
        return "{" + (inner or gap()) + "}"
    if isinstance(value, list):
        return "[" + (",".join(f"{gap()}{_written(item, dice)}{gap()}" for item in value) or gap()) + "]"
    return json.dumps(value, ensure_ascii=dice.random() < 0.5)


def _leaves(value: Any, path: Path = ()) -> list[Path]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for at, item in enumerate(value) for leaf in _leaves(item, (*path, at))]
    return [path]


def test_spans_agree_with_values_in_four_thousand_documents() -> None:
    dice = random.Random(20)
    for _ in range(4_000):
        value = _document(dice, 4)
        text = dice.choice(_SPACES) + _written(value, dice) + dice.choice(_SPACES)
        leaves = _leaves(value)
        chosen = dice.sample(leaves, dice.randrange(1, len(leaves) + 1))
        spans = find_spans(text, chosen)
        assert set(spans) == set(chosen)
        for path, (start, end) in spans.items():
            assert json.loads(text[start:end]) == value_at(value, path)
            assert text[start:end].strip() == text[start:end]
        replaced = json.loads(replace_spans(text, dict.fromkeys(chosen, '"new"'), spans))
        for path in leaves:
            assert value_at(replaced, path) == ("new" if path in spans else value_at(value, path))


def test_spans_agree_with_values_in_long_arrays_of_numbers_and_words() -> None:
    dice = random.Random(21)
    for _ in range(300):
        items = [
            dice.choice(["0", "-1.50", "1e22", "null", "true", "NaN", "-Infinity"])
            for _ in range(dice.randrange(1, 90))
        ]
        inner = ",".join(f"{dice.choice(_SPACES)}{item}{dice.choice(_SPACES)}" for item in items)
        text = f'{{"a]": [[{inner}], ["]", {inner}]]}}'
        chosen = dice.sample(range(len(items)), dice.randrange(1, len(items) + 1))
        paths: list[Path] = [path for at in chosen for path in (("a]", 0, at), ("a]", 1, at + 1))]
        spans = find_spans(text, paths)
        assert [text[slice(*spans[path])] for path in paths] == [items[at] for at in chosen for _ in range(2)]
        with pytest.raises(PatchError):
            find_spans(text, [*paths, ("a]", 0, len(items))])
        with pytest.raises(PatchError):
            find_spans(text, [("a]", 1, 1, 0)])


def test_a_long_array_of_blanks_has_no_values() -> None:
    with pytest.raises(PatchError):
        find_spans(f"[{' ' * 90}]", [(0,)])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200)
@given(_JSON, st.booleans(), st.sampled_from([None, 2]))
def test_every_leaf_has_the_span_of_its_text(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    leaves = _leaves(value)
    for path, (start, end) in find_spans(text, leaves).items():
        assert json.loads(text[start:end]) == value_at(value, path)


@pytest.mark.parametrize(
    "path", [("b",), ("a", 2), ("a", 0, "x"), ("a", "x"), ("c",)], ids=lambda path: "/".join(map(str, path))
)
def test_a_path_that_leads_nowhere_is_refused(path: Path) -> None:
    with pytest.raises(PatchError):
        find_spans('{"a": [1, 2], "c\\u0063": 3}', [path])


def test_an_escaped_key_is_found_by_what_it_means() -> None:
    assert find_spans('{"\\u0061": 17}', [("a",)]) == {("a",): (11, 13)}
