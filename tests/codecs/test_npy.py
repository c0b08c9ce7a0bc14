"""NumPy's array files as messages."""

import io
import pickle
import struct
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from guardproxy.codecs import CodecOptions
from guardproxy.codecs.npy import NpyArray
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Cell
from tests.codecs.test_requests import columns


def npy(array: Any, version: tuple[int, int] | None = None) -> Message:
    """An array as numpy itself writes it."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), version, allow_pickle=False)
    return Message(file.getvalue(), "application/x-npy")


def written(header: str, data: bytes, version: int = 1, length: int | None = None) -> Message:
    """A file by hand."""
    raw = header.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(raw) if length is None else length)
    return Message(b"\x93NUMPY" + bytes((version, 0)) + size + raw + data)


def container(**options: Any) -> NpyArray:
    return NpyArray(CodecOptions(**options))


def loaded(message: Message) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(message.body), allow_pickle=False)
    return array


TYPES = [
    *(f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (2, 4, 8)),
    *(f"{order}f{size}" for order in "<>" for size in (2, 4, 8)),
    "|i1",
    "|u1",
    "|b1",
    "<U3",
    ">U3",
]


def elements_of(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    return st.text("aé😀", max_size=3) if dtype.kind == "U" else arrays.from_dtype(dtype)


@st.composite
def tables(draw: st.DrawFn, axes: int = 2) -> NDArray[Any]:
    """An array of one or two axes, of any type, in either order of its axes."""
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 3)))[: draw(st.integers(1, axes))]
    array: NDArray[Any] = draw(arrays.arrays(dtype, shape, elements=elements_of(dtype)))
    return np.asfortranarray(array) if draw(st.booleans()) else array


def cell(value: Any) -> Cell:
    plain: Cell = value.item()
    return None if plain != plain else plain


@given(array=tables(), version=st.sampled_from([(1, 0), (2, 0), (3, 0)]))
def test_a_request_has_the_rows_of_its_array(array: NDArray[Any], version: tuple[int, int]) -> None:
    table = container().decode_request(npy(array, version))
    matrix = array.reshape(len(array), -1)
    expected = {f"f{at}": tuple(cell(value) for value in matrix[:, at]) for at in range(matrix.shape[1])}
    assert columns(table) == expected


@given(array=tables(axes=1))
def test_a_response_of_one_axis_is_one_prediction_per_row(array: NDArray[Any]) -> None:
    table = container(outputs=("demand",)).decode_response(npy(array), len(array))
    assert columns(table) == {"demand": tuple(map(cell, array))}
    assert container().decode_response(npy(array), None).rows == len(array)


@given(array=tables(), data=st.data())
def test_a_patch_makes_the_array_that_has_the_new_value(array: NDArray[Any], data: st.DataObject) -> None:
    index = tuple(data.draw(st.integers(0, size - 1)) for size in array.shape)
    new = np.array(data.draw(elements_of(array.dtype)), array.dtype).item()
    rows = container()
    before = npy(array)
    table = rows.decode_response(before, len(array))
    text = array.dtype.kind in "Ub" and array.shape[1:] > (1,)
    name = f"prediction_{index[1]}" if text else "prediction"
    value: Cell = new
    vector = table.cell(name, index[0])
    if isinstance(vector, tuple):
        value = (*vector[: index[1]], new, *vector[index[1] + 1 :])
    after = rows.splice(before, len(array), [Replacement(index[0], {name: value}, "x")])
    wanted = array.copy(order="K")
    wanted[index] = new
    old = array[index].item()
    if old == new or (old != old and new != new):
        assert after is before
    elif new != new:
        assert np.array_equal(loaded(after), wanted, equal_nan=True)
    else:
        assert after.body == npy(wanted).body


@given(array=tables())
def test_a_patch_that_says_what_is_there_gives_the_same_message(array: NDArray[Any]) -> None:
    before = npy(array)
    table = container().decode_response(before, len(array))
    patch = [Replacement(row, table.record(row), "x") for row in range(len(array))]
    assert container().splice(before, len(array), patch) is before


STRUCTURED = np.array(
    [(1.5, 2**60 + 1, "é", True), (np.nan, -1, "b", False)],
    dtype=[("x", ">f4"), ("n", "<i8"), ("t", "<U2"), ("yes", "?")],
)


def test_a_structured_array_has_named_columns() -> None:
    expected = {"x": (1.5, None), "n": (2**60 + 1, -1), "t": ("é", "b"), "yes": (True, False)}
    assert columns(container().decode_request(npy(STRUCTURED))) == expected
    assert columns(container().decode_response(npy(STRUCTURED), 2)) == expected


def test_one_structured_element_is_one_row() -> None:
    assert columns(container().decode_request(npy(STRUCTURED[0]))) == {
        "x": (1.5,),
        "n": (2**60 + 1,),
        "t": ("é",),
        "yes": (True,),
    }
    after = container().splice(npy(STRUCTURED[0]), 1, [Replacement(0, {"n": 7}, "x")])
    assert loaded(after)["n"] == 7


def test_a_structured_array_is_patched_in_place() -> None:
    before = npy(STRUCTURED)
    patch = [Replacement(0, {"x": 2.5, "t": "z"}, "x"), Replacement(1, {"n": 2**60 + 3, "yes": True}, "x")]
    after = loaded(container().splice(before, 2, patch))
    wanted = STRUCTURED.copy()
    wanted["x"][0], wanted["t"][0], wanted["n"][1], wanted["yes"][1] = 2.5, "z", 2**60 + 3, True
    assert after.tobytes() == wanted.tobytes()


def test_padding_between_columns_is_skipped_and_kept() -> None:
    padded = np.zeros(2, dtype=np.dtype([("a", "u1"), ("b", "<f8")], align=True))
    padded["b"] = (1.5, 2.5)
    before = npy(padded)
    assert columns(container().decode_response(before, 2)) == {"a": (0.0, 0.0), "b": (1.5, 2.5)}
    after = container().splice(before, 2, [Replacement(1, {"b": 9.0}, "x")])
    assert after.body == before.body[:-8] + struct.pack("<d", 9.0)


def test_an_array_without_axes_is_one_value() -> None:
    one = npy(np.float64(2.5))
    assert columns(container().decode_request(one)) == {"f0": (2.5,)}
    assert columns(container().decode_response(one, 1)) == {"prediction": (2.5,)}
    assert loaded(container().splice(one, 1, [Replacement(0, {"prediction": 3.5}, "x")])) == 3.5


def test_one_row_takes_a_whole_response() -> None:
    answer = npy(np.array([0.25, 0.5, 0.25]))
    assert columns(container().decode_response(answer, 1)) == {"prediction": ((0.25, 0.5, 0.25),)}
    with pytest.raises(UnalignedError):
        container().decode_response(answer, 2)


def test_the_columns_of_a_matrix_take_the_names_of_the_route() -> None:
    matrix = npy(np.array([[1.0, 2.0]], "<f4"))
    assert columns(container(features=("a", "b")).decode_request(matrix)) == {"a": (1.0,), "b": (2.0,)}
    named = container(outputs=("demand", "p10"))
    assert columns(named.decode_response(matrix, 1)) == {"demand": (1.0,), "p10": (2.0,)}


def test_texts_of_bytes_are_utf8() -> None:
    array = np.array([b"caf\xc3\xa9", b"tea"])
    before = npy(array)
    assert columns(container().decode_response(before, 2)) == {"prediction": ("café", "tea")}
    after = container().splice(before, 2, [Replacement(1, {"prediction": "thé"}, "x")])
    assert loaded(after).tolist() == [b"caf\xc3\xa9", "thé".encode()]
    with pytest.raises(OpaqueError):
        container().decode_request(npy(np.array([b"\xff\xd8"])))


@pytest.mark.parametrize("new", ["toolong", "a\0", None, 1.5, "\ud800"], ids=repr)
def test_a_text_that_does_not_fit_is_refused(new: Cell) -> None:
    for array in (np.array(["abc"]), np.array([b"abc"])):
        with pytest.raises(PatchError):
            container().splice(npy(array), 1, [Replacement(0, {"prediction": new}, "x")])


@pytest.mark.parametrize(
    ("dtype", "new"), [("<i4", 3.5), ("|u1", 256), ("<f4", 1e300), ("<i8", None), ("|b1", 1.0)], ids=repr
)
def test_a_value_that_the_type_cannot_hold_is_refused(dtype: str, new: Cell) -> None:
    with pytest.raises(PatchError):
        container().splice(npy(np.zeros(1, dtype)), 1, [Replacement(0, {"prediction": new}, "x")])


def test_a_clamp_of_whole_numbers_stays_inside_its_bound() -> None:
    after = container().splice(npy(np.array([9], ">i2")), 1, [Replacement(0, {"prediction": 7.5}, "clamp")])
    assert loaded(after).tolist() == [7]


def test_the_payload_of_a_nan_outlives_a_patch_beside_it() -> None:
    odd = bytes.fromhex("010203040506f47f") + struct.pack("<d", 1.5)
    before = written("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", odd)
    after = container().splice(before, 2, [Replacement(1, {"prediction": 2.5}, "x")])
    assert after.body == before.body[:-8] + struct.pack("<d", 2.5)
    table = container().decode_response(before, 2)
    assert columns(table) == {"prediction": (None, 1.5)}
    assert (table.block + 1.0)[0, 1] == 2.5


class Bomb:
    """Its pickle ends the test run, if it is ever loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("import os; os._exit(13)",))


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}"
ONE = struct.pack("<d", 1.0)

UNDECODABLE = {
    "nothing": Message(b""),
    "no array": Message(b"PK\3\4" + bytes(40)),
    "a cut magic": Message(b"\x93NUM"),
    "no header": Message(b"\x93NUMPY\1\0"),
    "version 4": written(HEADER, ONE, version=4),
    "a header beyond the body": written(HEADER, ONE, length=60_000),
    "a header that ends early": written(HEADER, ONE, length=20),
    "a header of 4 GiB": written(HEADER, ONE, version=2, length=2**32 - 1),
    "a long header": written(HEADER + " " * 20_000, ONE),
    "pickled objects": written(
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps([Bomb()], protocol=2)
    ),
    "pickled objects in a column": written(
        "{'descr': [('a', '<f8'), ('b', '|O')], 'fortran_order': False, 'shape': (1,)}", bytes(16)
    ),
    "bytes left over": written(HEADER, ONE + b"\0"),
    "bytes too few": written(HEADER, ONE[:-1]),
    "two arrays": Message(npy(np.ones(1)).body * 2),
    "a key twice": written(HEADER.replace("}", ", 'shape': (1,)}"), ONE),
    "a key twice and one gone": written("{'descr': '<f8', 'shape': (1,), 'shape': (1,)}", ONE),
    "another key": written(HEADER.replace("}", ", 'x': 1}"), ONE),
    "a key less": written("{'descr': '<f8', 'shape': (1,)}", ONE),
    "an unpacked mapping": written("{'descr': '<f8', 'shape': (1,), **{'fortran_order': False}}", ONE),
    "no mapping": written("['descr', 'fortran_order', 'shape']", ONE),
    "a call": written(HEADER.replace("False", "print(1)"), ONE),
    "nested brackets": written("(" * 9_000, ONE),
    "nested signs": written("{'descr': " + "-" * 9_000 + "1, 'fortran_order': False, 'shape': (1,)}", ONE),
    "an escape": written(HEADER.replace("<f8", "\\d"), ONE),
    "a number that runs into a word": written(HEADER.replace("(1,)", "(1if 1 else 1,)"), ONE),
    "a type in no quotes": written(HEADER.replace("'<f8'", "f8"), ONE),
    "a NUL": written(HEADER + "\0", ONE),
    "an order that is none": written(HEADER.replace("False", "0"), ONE),
    "a shape that is a number": written(HEADER.replace("(1,)", "1"), ONE),
    "a shape that is a list": written(HEADER.replace("(1,)", "[1]"), ONE),
    "a shape of yes": written(HEADER.replace("(1,)", "(True,)"), ONE),
    "a negative shape": written(HEADER.replace("(1,)", "(-1, -1)"), ONE),
    "a huge shape": written(HEADER.replace("(1,)", f"({2**62}, 4)"), ONE),
    "a shape whose product wraps": written(HEADER.replace("(1,)", f"({2**32}, {2**32}, 1)"), ONE),
    "two thousand million empty rows": written(HEADER.replace("(1,)", f"({2**31}, 0)"), b""),
    "rows of nothing": written(HEADER.replace("(1,)", "(1, 0)"), b""),
    "no type": written(HEADER.replace("'<f8'", "None"), ONE),
    "no columns": written(HEADER.replace("'<f8'", "[]"), b""),
    "an unknown type": written(HEADER.replace("<f8", "<q8"), ONE),
    "a type of no bytes": written(HEADER.replace("<f8", "<U0"), b""),
    "an integer of three bytes": written(HEADER.replace("<f8", "<i3"), b"123"),
    "a type of types": written(HEADER.replace("<f8", "<f4,<f4"), ONE),
    "a column without a name": written(HEADER.replace("'<f8'", "[('', '<f8')]"), ONE),
    "a column that is no pair": written(HEADER.replace("'<f8'", "['<f8']"), ONE),
    "columns of one name": written(HEADER.replace("'<f8'", "[('a', '<f4'), ('a', '<f4')]"), ONE),
    "a yes/no that is neither": written(HEADER.replace("<f8", "|b1"), b"\2"),
    "a character that does not exist": written(HEADER.replace("<f8", "<U1"), b"\xff\xff\xff\xff"),
    "half a surrogate pair": written(HEADER.replace("<f8", "<U1"), b"\0\xd8\0\0"),
}


@pytest.mark.parametrize("name", UNDECODABLE)
def test_what_is_no_array_is_undecodable(name: str) -> None:
    for read in (
        container().decode_request,
        lambda message: container().decode_response(message, 1),
        lambda message: container().splice(message, 1, [Replacement(0, {"prediction": 1.0}, "x")]),
    ):
        with pytest.raises(DecodeError) as caught:
            read(UNDECODABLE[name])
        assert not isinstance(caught.value, (OpaqueError, UnalignedError))


def test_pickled_objects_are_refused_by_name() -> None:
    for name in ("pickled objects", "pickled objects in a column"):
        with pytest.raises(DecodeError, match="pickled objects, which are never loaded"):
            container().decode_request(UNDECODABLE[name])


def test_an_odd_header_prints_no_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for odd in ("'\\d'", "(1if 1 else 1)", "(1 is 1)"):
            with pytest.raises(DecodeError):
                container().decode_request(written(HEADER.replace("'<f8'", odd), ONE))
    assert not caught


OPAQUE = {
    "an image": npy(np.zeros((1, 2, 2), "|u1")),
    "complex numbers": npy(np.zeros(1, "<c16")),
    "times": npy(np.zeros(1, "<M8[ns]")),
    "raw bytes": npy(np.zeros(1, "|V4")),
    "long doubles": written(HEADER.replace("<f8", "<f16"), bytes(16)),
    "columns of arrays": npy(np.zeros(1, [("a", "<f8", (2,))])),
    "columns of columns": npy(np.zeros(1, [("a", [("b", "<f8")])])),
    "a matrix of records": npy(np.zeros((2, 2), [("a", "<f8")])),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_an_array_without_rows_to_see_is_opaque(name: str) -> None:
    with pytest.raises(OpaqueError):
        container().decode_request(OPAQUE[name])


def test_an_array_without_rows_has_none() -> None:
    assert container().decode_request(npy(np.zeros((0, 3)))).rows == 0


def test_too_many_rows_are_undecodable() -> None:
    with pytest.raises(DecodeError):
        container(max_rows=3).decode_request(npy(np.zeros(4)))
