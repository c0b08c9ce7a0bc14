"""A patch is tried as a whole: what cannot be written is told of every row at once."""

import pytest

from guardproxy.codecs.patching import write_cells
from guardproxy.decision import Replacement
from guardproxy.errors import PatchError
from guardproxy.table import Cell


def test_every_row_that_cannot_be_written_is_named_with_its_first_reason() -> None:
    written: list[tuple[str, int, Cell]] = []

    def write(name: str, row: int, cell: Cell, _replacement: Replacement) -> None:
        if cell == "bad":
            raise PatchError(f"{name} is bad")
        written.append((name, row, cell))

    patch = [
        Replacement(0, {"a": "bad", "b": 1.0}, "value"),
        Replacement(1, {"a": 2.0}, "value"),
        Replacement(9, {"a": 2.0}, "value"),
        Replacement(2, {"b": "bad", "a": "bad"}, "value"),
        Replacement(1, {"a": 3.0}, "value"),
    ]
    with pytest.raises(PatchError) as caught:
        write_cells(patch, 3, write)
    assert str(caught.value) == "row 0, 'a': a is bad"
    assert caught.value.rows == {
        0: "row 0, 'a': a is bad",
        9: "there is no row 9 in a response of 3 rows",
        2: "row 2, 'b': b is bad",
        1: "row 1 has two replacements for 'a'",
    }
    assert written == [("b", 0, 1.0), ("a", 1, 2.0)]


def test_a_patch_that_can_be_written_raises_nothing() -> None:
    written: list[str] = []
    write_cells(
        [Replacement(0, {"a": 1, "b": 2}, "value")], 1, lambda name, _row, _cell, _one: written.append(name)
    )
    assert written == ["a", "b"]


def test_an_error_of_the_patch_as_a_whole_names_no_rows() -> None:
    assert PatchError("not at all").rows == {}
