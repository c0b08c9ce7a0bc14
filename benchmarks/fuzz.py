"""Documents of every protocol and layout, spelled as oddly as JSON allows, read and patched by the codecs.

    python -m benchmarks.fuzz [--documents 50000] [--seed 1] [--show 5]

Each document is read a second time by `plain_json`, which shares nothing with the codecs. These laws must hold: the rows
are those of the second reading; a splice changes the replaced values and no other byte; a splice of what stands there
already gives the same object back; what a column's type cannot hold is refused; a key that stands twice on the way to the
rows makes a document undecodable.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import plain_json
from benchmarks.machine import describe
from benchmarks.plain_json import Node
from benchmarks.spelling import LARGE_INTEGERS, NAMES, WORDS, Object, Spelling, Token
from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.codecs.base import Codec
from guardproxy.codecs.json_text import DEFAULT_PARSER, JsonReader
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, PatchError
from guardproxy.message import Message
from guardproxy.table import Cell, Table

Rows = list[list[Any]]
"""Cells as they are spelled, by row and column."""

Fields = dict[str, list[Node | None]]
"""Where the cells of each field stand in the second reading, one per row; None where a record has none."""


# ------------------------------------------------------------------------------------------------- columns and layouts

_INT64: Final = tuple(text for text in LARGE_INTEGERS if -(2**63) <= int(text) < 2**63)
_NARROW: Final = ("0.5", "-0.0", "0.1", "16777217.0", "3.4e38", "1e-45", "0.10000000149011612", "1")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of column: how a value is spelled, and the V2 datatypes that a tensor of such values may have."""

    spelled: Callable[[Spelling], Any]
    datatypes: tuple[str, ...] = ("ODD",)


def _maybe(spelled: Callable[[Spelling], Any], *missing: str) -> Callable[[Spelling], Any]:
    return lambda spelling: spelling.one(*missing) if spelling.rng.random() < 0.3 else spelled(spelling)


SCALARS: Final = (
    Kind(Spelling.real, ("FP64",)),
    Kind(lambda spelling: spelling.one(*_NARROW), ("FP32", "FP16X")),
    Kind(Spelling.small, ("INT64", "INT32", "FP64")),
    Kind(lambda spelling: spelling.one(*_INT64), ("INT64",)),
    Kind(lambda spelling: spelling.one(*LARGE_INTEGERS), ("ODD",)),
    Kind(_maybe(Spelling.real, "null", "NaN"), ("FP64",)),
    Kind(_maybe(Spelling.small, "null"), ("FP64", "ODD")),
    Kind(_maybe(Spelling.real, *WORDS), ("FP64", "FP32")),
    Kind(Spelling.text, ("BYTES",)),
    Kind(lambda spelling: spelling.one("true", "false"), ("BOOL",)),
    Kind(lambda spelling: spelling.one("null"), ("FP64", "BYTES", "ODD")),
    Kind(Spelling.scalar, ("ODD",)),
)

LISTS: Final = (
    Kind(lambda spelling: [Spelling.real(spelling)]),
    Kind(
        lambda spelling: [
            Spelling.real(spelling),
            spelling.one("null", "0.25", "NaN"),
            Spelling.small(spelling),
        ]
    ),
    Kind(lambda spelling: Object([("b64", spelling.text())])),
    Kind(lambda spelling: spelling.beside(distinct=True)),
)
"""What only a record's or a column's cell may be."""

SINGLE_SPACED: Final = ("a", "b", "c", "d", "e")


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows are put into a document, and found again in the second reading. `flat` has no lists in its cells."""

    name: str
    put: Callable[[Spelling, Sequence[str], Rows], Any]
    find: Callable[[Node], Fields]
    flat: bool = True
    rows: int = 0
    columns: int = 0


def _put_records(spelling: Spelling, names: Sequence[str], rows: Rows) -> Any:
    made = []
    for row in rows:
        members = list(zip(names, row, strict=True))
        spelling.rng.shuffle(members)
        absent = len(members) > 1 and spelling.rng.random() < 0.1
        made.append(Object(members[absent:]))
    return made


def _find_records(node: Node) -> Fields:
    names = dict.fromkeys(key for record in node.nodes for key in record.keys or ())
    return {name: [_member(record, name) for record in node.nodes] for name in names}


def _put_columns(_spelling: Spelling, names: Sequence[str], rows: Rows) -> Any:
    return Object((name, [row[at] for row in rows]) for at, name in enumerate(names))


def _find_columns(node: Node) -> Fields:
    return {key: list(column.nodes) for key, column in zip(node.keys or (), node.nodes, strict=True)}


def _find_matrix(node: Node) -> Fields:
    return {f"f{at}": [row.nodes[at] for row in node.nodes] for at in range(len(node.nodes[0].nodes))}


def _find_predictions(node: Node) -> Fields:
    """Lists of numbers are one vector, others a column for each place."""
    width = len(node.nodes[0].nodes)
    numbers = all(_is_number(leaf) for leaf in node.leaves())
    if width == 1 or numbers:
        return {"prediction": list(node.nodes)}
    return {f"prediction_{at}": [row.nodes[at] for row in node.nodes] for at in range(width)}


RECORDS: Final = Layout("records", _put_records, _find_records, flat=False)
COLUMNS: Final = Layout("columns", _put_columns, _find_columns)
MATRIX: Final = Layout("matrix", lambda _spelling, _names, rows: rows, _find_matrix)
VECTORS: Final = Layout("vectors", lambda _spelling, _names, rows: rows, _find_predictions)
LONE: Final = Layout(
    "scalars",
    lambda _spelling, _names, rows: [row[0] for row in rows],
    lambda node: {"f0": list(node.nodes)},
    columns=1,
)
LONE_PREDICTION: Final = Layout(
    "scalars",
    lambda _spelling, _names, rows: [row[0] for row in rows],
    lambda node: {"prediction": list(node.nodes)},
    columns=1,
)
ONE_RECORD: Final = Layout(
    "one record",
    lambda _spelling, names, rows: Object(zip(names, rows[0], strict=True)),
    lambda node: {key: [member] for key, member in zip(node.keys or (), node.nodes, strict=True)},
    rows=1,
)
ONE_VALUE: Final = Layout(
    "one value",
    lambda _spelling, _names, rows: rows[0][0],
    lambda node: {"prediction": [node]},
    rows=1,
    columns=1,
)


def _put_split(spelling: Spelling, names: Sequence[str], rows: Rows) -> Any:
    index = [Token(str(at)) for at in range(len(rows))]
    members = [("columns", [spelling.quoted(name) for name in names]), ("data", rows), ("index", index)]
    spelling.rng.shuffle(members)
    return Object(members)


def _find_split(node: Node) -> Fields:
    rows = node["data"].nodes
    return {name: [row.nodes[at] for row in rows] for at, name in enumerate(node["columns"].value)}


SPLIT: Final = Layout("split", _put_split, _find_split)
ONE_LIST: Final = Layout(
    "one list",
    lambda _spelling, _names, rows: rows[0],
    lambda node: {f"f{at}": [item] for at, item in enumerate(node.nodes)},
    rows=1,
)


def _put_named(spelling: Spelling, names: Sequence[str], rows: Rows) -> Any:
    return _shuffled(spelling, ("names", [spelling.quoted(name) for name in names]), ("ndarray", rows))


def _find_named(node: Node) -> Fields:
    rows = node["ndarray"].nodes
    return {name: [row.nodes[at] for row in rows] for at, name in enumerate(node["names"].value)}


def _put_shaped(spelling: Spelling, names: Sequence[str], rows: Rows) -> Any:
    shape = [Token(str(len(rows))), Token(str(len(names)))]
    values = [value for row in rows for value in row]
    return _shuffled(spelling, ("tensor", _shuffled(spelling, ("shape", shape), ("values", values))))


def _find_shaped(node: Node) -> Fields:
    rows = _rows_of(list(node["tensor"]["values"].leaves()), node["tensor"]["shape"].value[0])
    return {f"f{at}": [row.nodes[at] for row in rows] for at in range(len(rows[0].nodes))}


def _find_shaped_predictions(node: Node) -> Fields:
    rows = _rows_of(list(node["tensor"]["values"].leaves()), node["tensor"]["shape"].value[0])
    return _find_predictions(Node([row.value for row in rows], 0, 0, rows))


def _rows_of(leaves: list[Node], count: int) -> list[Node]:
    """Flat values as lists of one row each."""
    width = len(leaves) // count
    groups = [leaves[at * width : (at + 1) * width] for at in range(count)]
    return [Node([leaf.value for leaf in group], 0, 0, group) for group in groups]


def _shuffled(spelling: Spelling, *members: tuple[str, Any]) -> Object:
    made = Object(members)
    spelling.rng.shuffle(made)
    return made


NAMED: Final = Layout("names and rows", _put_named, _find_named)
SHAPED: Final = Layout("values and a shape", _put_shaped, _find_shaped)
SHAPED_PREDICTIONS: Final = Layout("values and a shape", _put_shaped, _find_shaped_predictions)


def _put_choices(spelling: Spelling, _names: Sequence[str], rows: Rows) -> Any:
    return [
        _shuffled(
            spelling,
            ("index", Token(str(at))),
            ("finish_reason", row[1]),
            ("message", _shuffled(spelling, ("content", _spoken(spelling, row[0])), ("role", row[2]))),
        )
        for at, row in enumerate(rows)
    ]


def _spoken(spelling: Spelling, value: Any) -> Any:
    """Return a content that is not null: a null one reads as the empty text, which no other field's null does."""
    return spelling.quoted("") if isinstance(value, Token) and value.text in {"null", "NaN"} else value


def _find_choices(node: Node) -> Fields:
    return {
        "content": [choice["message"]["content"] for choice in node.nodes],
        "finish_reason": [choice["finish_reason"] for choice in node.nodes],
        "role": [choice["message"]["role"] for choice in node.nodes],
    }


def _put_embeddings(spelling: Spelling, _names: Sequence[str], rows: Rows) -> Any:
    return [
        _shuffled(
            spelling, ("index", Token(str(at))), ("embedding", row), ("object", spelling.quoted("embedding"))
        )
        for at, row in enumerate(rows)
    ]


CHOICES: Final = Layout("choices", _put_choices, _find_choices, columns=3)
EMBEDDINGS: Final = Layout(
    "embeddings",
    _put_embeddings,
    lambda node: {"embedding": [item["embedding"] for item in node.nodes]},
    columns=4,
)


# ------------------------------------------------------------------------------------------------------- V2 tensors


def _put_tensors(spelling: Spelling, names: Sequence[str], rows: Rows) -> Any:
    """One tensor per column, of shape [n] or [n,1], its data flat or nested."""
    tensors = []
    for at, name in enumerate(names):
        data = [row[at] for row in rows]
        deep = spelling.rng.random() < 0.5
        nested = deep and spelling.rng.random() < 0.5
        shape = [len(rows), 1] if deep else [len(rows)]
        tensors.append(_tensor(spelling, name, shape, [[value] for value in data] if nested else data))
    return tensors


def _put_tensor(spelling: Spelling, names: Sequence[str], rows: Rows) -> Any:
    nested = spelling.rng.random() < 0.5
    data = rows if nested else [value for row in rows for value in row]
    return [_tensor(spelling, names[0], [len(rows), len(names)], data)]


def _tensor(spelling: Spelling, name: str, shape: list[int], data: Any) -> Any:
    members = [
        ("name", spelling.quoted(name)),
        ("shape", [Token(str(size)) for size in shape]),
        ("datatype", spelling.quoted("ODD")),
        ("data", data),
    ]
    if spelling.rng.random() < 0.3:
        members.append(("parameters", Object([("content_type", spelling.quoted("np"))])))
    spelling.rng.shuffle(members)
    return Object(members)


def _find_tensors(node: Node) -> Fields:
    return {tensor["name"].value: list(tensor["data"].leaves()) for tensor in node.nodes}


def _find_features(node: Node) -> Fields:
    rows, name = _tensor_rows(node.nodes[0]), node.nodes[0]["name"].value
    if len(rows[0].nodes) == 1:
        return {name: list(rows)}
    return {f"f{at}": [row.nodes[at] for row in rows] for at in range(len(rows[0].nodes))}


def _find_output(node: Node) -> Fields:
    tensor = node.nodes[0]
    rows, name = _tensor_rows(tensor), tensor["name"].value
    width = len(rows[0].nodes)
    if width == 1 or all(_is_number(leaf) for leaf in tensor["data"].leaves()):
        return {name: list(rows)}
    return {f"{name}[{at}]": [row.nodes[at] for row in rows] for at in range(width)}


def _tensor_rows(tensor: Node) -> list[Node]:
    """The rows of a tensor [n, k], each as a list of its scalars."""
    return _rows_of(list(tensor["data"].leaves()), tensor["shape"].value[0])


TENSORS: Final = Layout("tensors", _put_tensors, _find_tensors)
TENSOR: Final = Layout("a tensor", _put_tensor, _find_features)
OUTPUT: Final = Layout("a tensor", _put_tensor, _find_output)


# ---------------------------------------------------------------------------------------------------------- protocols


class Side(StrEnum):
    """Which message of an exchange it is."""

    REQUEST = "request"
    RESPONSE = "response"


class Place(NamedTuple):
    """Where a protocol's messages have their rows: the steps from the root, and the layouts that may stand there.

    `alone` says that other members beside the way would mean something.
    """

    protocol: str
    side: Side
    steps: tuple[str | int, ...]
    layouts: tuple[Layout, ...]
    options: CodecOptions
    alone: bool = False


_ROWS: Final = (RECORDS, MATRIX, LONE)
_PREDICTIONS: Final = (RECORDS, VECTORS, LONE_PREDICTION, COLUMNS, ONE_VALUE)
_BARE: Final = (RECORDS, VECTORS, LONE_PREDICTION, ONE_VALUE)
_PLAIN: Final = CodecOptions()
_POINTERS: Final = CodecOptions(request_rows="/a~1b/0/rows", response_rows="/out/a~0b")

PLACES: Final = (
    Place("open-inference", Side.REQUEST, ("inputs",), (TENSORS, TENSOR), _PLAIN),
    Place("open-inference", Side.RESPONSE, ("outputs",), (TENSORS, OUTPUT), _PLAIN),
    Place("kserve-v1", Side.REQUEST, ("instances",), _ROWS, _PLAIN),
    Place("kserve-v1", Side.REQUEST, ("inputs",), (*_ROWS, COLUMNS), _PLAIN),
    Place("kserve-v1", Side.RESPONSE, ("predictions",), _PREDICTIONS, _PLAIN),
    Place("kserve-v1", Side.RESPONSE, ("outputs",), _PREDICTIONS, _PLAIN),
    Place("mlflow", Side.REQUEST, ("dataframe_split",), (SPLIT,), _PLAIN),
    Place("mlflow", Side.REQUEST, ("dataframe_records",), (RECORDS,), _PLAIN),
    Place("mlflow", Side.REQUEST, ("instances",), _ROWS, _PLAIN),
    Place("mlflow", Side.REQUEST, ("inputs",), (*_ROWS, COLUMNS), _PLAIN),
    Place("mlflow", Side.RESPONSE, ("predictions",), _PREDICTIONS, _PLAIN),
    Place("sagemaker", Side.REQUEST, ("instances",), _ROWS, _PLAIN),
    Place("sagemaker", Side.REQUEST, (), (RECORDS, MATRIX, ONE_RECORD, ONE_LIST), _PLAIN),
    Place("sagemaker", Side.RESPONSE, ("predictions",), _PREDICTIONS, _PLAIN),
    Place("sagemaker", Side.RESPONSE, (), _BARE, _PLAIN),
    Place("seldon", Side.REQUEST, ("data", "ndarray"), (MATRIX,), _PLAIN),
    Place("seldon", Side.REQUEST, ("data",), (NAMED, SHAPED), _PLAIN),
    Place("seldon", Side.REQUEST, ("jsonData",), (RECORDS, MATRIX, ONE_RECORD, ONE_LIST), _PLAIN),
    Place("seldon", Side.RESPONSE, ("data", "ndarray"), (VECTORS,), _PLAIN),
    Place("seldon", Side.RESPONSE, ("data",), (NAMED, SHAPED_PREDICTIONS), _PLAIN),
    Place("seldon", Side.RESPONSE, ("jsonData",), _PREDICTIONS, _PLAIN),
    Place("torchserve", Side.REQUEST, ("instances",), _ROWS, _PLAIN),
    Place("torchserve", Side.REQUEST, (), (RECORDS, MATRIX, ONE_RECORD, ONE_LIST), _PLAIN),
    Place("torchserve", Side.RESPONSE, (), _BARE, _PLAIN),
    Place("bentoml", Side.REQUEST, ("df",), (*_ROWS, COLUMNS, ONE_RECORD), _PLAIN, alone=True),
    Place("bentoml", Side.RESPONSE, ("result",), (RECORDS, VECTORS, LONE_PREDICTION, COLUMNS), _PLAIN),
    Place("bentoml", Side.RESPONSE, (), _BARE, _PLAIN),
    Place("openai", Side.RESPONSE, ("choices",), (CHOICES,), _PLAIN),
    Place("openai", Side.RESPONSE, ("data",), (EMBEDDINGS,), _PLAIN),
    Place("json", Side.REQUEST, ("a/b", 0, "rows"), (*_ROWS, ONE_RECORD), _POINTERS),
    Place("json", Side.RESPONSE, ("out", "a~b"), _PREDICTIONS, _POINTERS),
    Place("json", Side.REQUEST, (), (*_ROWS, ONE_RECORD), _PLAIN),
    Place("json", Side.RESPONSE, (), _PREDICTIONS, _PLAIN),
)


@dataclass(frozen=True)
class Document:
    """One generated document. `doubled` says that a key stands twice on the way to its rows."""

    place: Place
    layout: Layout
    text: str
    rows: int
    doubled: bool

    @cached_property
    def located(self) -> Node:
        """What the second reading finds where the rows are."""
        node = plain_json.read(self.text)
        for step in self.place.steps:
            node = node[step]
        return node

    @cached_property
    def fields(self) -> Fields:
        """Where the second reading finds the cells."""
        return self.layout.find(self.located)

    def datatype(self, name: str) -> str:
        """Return the datatype of the output that a field is of, or a part of; empty where there are no tensors."""
        if self.layout not in (TENSORS, OUTPUT):
            return ""
        found = {tensor["name"].value: tensor["datatype"].value for tensor in self.located.nodes}
        return str(found.get(name) or next(iter(found.values())))


def make_document(rng: random.Random) -> Document:
    """Return a random document."""
    spelling = Spelling(rng)
    place = rng.choice(PLACES)
    layout = rng.choice(place.layouts)
    count = layout.rows or rng.choice((1, 1, 2, 3, 5, 5, 40) if rng.random() < 0.98 else (400,))
    width = layout.columns or rng.choice((1, 2, 3, 5))
    names = rng.sample(NAMES, width)
    kinds = _kinds(rng, layout, width)
    rows = [[kind.spelled(spelling) for kind in kinds] for _ in range(count)]
    located = layout.put(spelling, names, rows)
    if layout in (TENSORS, TENSOR, OUTPUT):
        _type_tensors(rng, located, kinds)
    doubled = rng.random() < 0.03
    document = _wrapped(spelling, place, located, doubled=doubled)
    doubled = doubled and any(isinstance(step, str) for step in place.steps)
    return Document(place, layout, spelling.written(document), count, doubled)


def _kinds(rng: random.Random, layout: Layout, width: int) -> list[Kind]:
    """A column is of one kind; so is a whole tensor, and a matrix most of the time."""
    pool = SCALARS if layout.flat else (*SCALARS, *LISTS)
    if layout is EMBEDDINGS:
        return [SCALARS[0]] * width
    if layout in (TENSOR, OUTPUT) or (
        layout in (MATRIX, VECTORS, SPLIT, NAMED, SHAPED, SHAPED_PREDICTIONS) and rng.random() < 0.6
    ):
        return [rng.choice(pool)] * width
    return rng.choices(pool, k=width)


def _type_tensors(rng: random.Random, tensors: list[Object], kinds: Sequence[Kind]) -> None:
    for tensor, kind in zip(tensors, kinds, strict=False):
        at = next(at for at, (key, _) in enumerate(tensor) if key == "datatype")
        tensor[at] = ("datatype", Token(json.dumps(rng.choice(kind.datatypes))))


def _wrapped(spelling: Spelling, place: Place, located: Any, *, doubled: bool) -> Any:
    """Put the rows where they belong, with other members beside the way."""
    for step in reversed(place.steps):
        if isinstance(step, int):
            located = [
                *(spelling.beside() for _ in range(step)),
                located,
                *([spelling.beside()] * spelling.rng.randint(0, 1)),
            ]
            continue
        beside = () if place.alone else ("meta", "id", "größe", "x:y", "parameters")
        others = [name for name in beside if spelling.rng.random() < 0.25]
        members = [(step, located), *((name, spelling.beside()) for name in others)]
        if doubled:
            members.append((step, located))
            doubled = False
        spelling.rng.shuffle(members)
        located = Object(members)
    return located


# --------------------------------------------------------------------------------------------------------------- laws


OTHER_ROWS: Final = frozenset(
    {
        ("mlflow", RECORDS, "the records of 'instances' do not all have the same keys"),
        *(
            (
                "kserve-v1",
                layout,
                "the lists of a field are not all of the same length, or a row has objects in it",
            )
            for layout in (RECORDS, MATRIX)
        ),
        *(
            ("open-inference", layout, "a value lies outside its tensor's datatype")
            for layout in (TENSORS, TENSOR)
        ),
    }
)
"""What the server itself reads as other rows or values: by protocol, layout and the sentence that refuses it."""


class BrokenLawError(AssertionError):
    """A document for which a law does not hold."""


def check_document(codec: Codec, document: Document, rng: random.Random) -> str:
    """Say what was checked of a document. Raises BrokenLawError where a law does not hold."""
    message = Message(document.text.encode(), "application/json")
    try:
        table = (
            codec.decode_response(message, document.rows)
            if document.place.side is Side.RESPONSE
            else codec.decode_request(message)
        )
    except DecodeError as error:
        if document.doubled or (document.place.protocol, document.layout, str(error)) in OTHER_ROWS:
            return "refused"
        raise BrokenLawError(f"undecodable: {error}") from error
    if document.doubled:
        raise BrokenLawError("a key stands twice on the way to the rows, and they were read")
    fields = document.fields
    _check_rows(table, fields, document.rows)
    if document.place.side is Side.REQUEST:
        return "read"
    _check_same(codec, message, table, document.rows)
    _check_splice(codec, message, fields, document, rng)
    return "spliced"


def _check_rows(table: Table, fields: Fields, rows: int) -> None:
    if table.fields != tuple(fields) or table.rows != rows:
        raise BrokenLawError(f"{table!r}, not {rows} rows of {', '.join(fields)}")
    for name, nodes in fields.items():
        for row, (cell, node) in enumerate(zip(table.column(name), nodes, strict=True)):
            if not _is_same(cell, cell_of(node)):
                raise BrokenLawError(f"row {row}, {name!r}: {cell!r}, not {cell_of(node)!r}")


def _check_same(codec: Codec, message: Message, table: Table, rows: int) -> None:
    there = [Replacement(row, table.record(row), "fuzz") for row in range(rows)]
    for patch in ((), there):
        if codec.splice(message, rows, patch) is not message:
            raise BrokenLawError("a splice of what stands there already is another object")


def _check_splice(
    codec: Codec, message: Message, fields: Fields, document: Document, rng: random.Random
) -> None:
    patch: dict[int, dict[str, Cell]] = {}
    wanted: dict[int, tuple[Any, str]] = {}
    for name, nodes in fields.items():
        kind = _column_kind(nodes, document.datatype(name))
        for row in {0, len(nodes) - 1, rng.randrange(len(nodes))}:
            leaves = _replaceable(nodes[row])
            if leaves and rng.random() < 0.7:
                news = [_another(kind, rng) for _ in leaves]
                patch.setdefault(row, {})[name] = tuple(news) if len(leaves) > 1 else news[0]
                wanted |= {leaf.start: (new, kind) for leaf, new in zip(leaves, news, strict=True)}
                _check_refusal(
                    codec, message, document, Replacement(row, {name: _unfit(kind)}, "fuzz"), len(leaves)
                )
    spliced = codec.splice(
        message, document.rows, [Replacement(row, cells, "fuzz") for row, cells in patch.items()]
    )
    _check_texts(document.text, spliced.body.decode(), wanted)
    if spliced.content_type != message.content_type or spliced.json_length is not None:
        raise BrokenLawError("the rest of the message is another")


def _check_texts(before: str, after: str, wanted: Mapping[int, tuple[Any, str]]) -> None:
    old, new = plain_json.pieces(before), plain_json.pieces(after)
    if len(old) != len(new):
        raise BrokenLawError(f"the spliced document has other values: {after}")
    at = 0
    for number, (one, other) in enumerate(zip(old, new, strict=True)):
        if number % 2 and at in wanted:
            value, kind = wanted[at]
            if not _says(other, value, kind) and not (
                other == one and _says(json.dumps(json.loads(one)), value, kind)
            ):
                raise BrokenLawError(f"{other} was written for {value!r} ({kind})")
        elif one != other:
            raise BrokenLawError(f"{one!r} became {other!r}, though nothing was to change there")
        at += len(one)


def _check_refusal(
    codec: Codec, message: Message, document: Document, replacement: Replacement, width: int
) -> None:
    (cell,) = replacement.values.values()
    if cell is None or width > 1:
        return
    try:
        codec.splice(message, document.rows, [replacement])
    except PatchError:
        return
    raise BrokenLawError(f"{cell!r} was put into a column that cannot hold it")


# ------------------------------------------------------------------------------------------------------------- values


def cell_of(node: Node | None) -> Cell:
    """Return what a value means as a cell, by the second reading."""
    value = None if node is None else node.value
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], (list, dict)):
        value = value[0]
    if isinstance(value, list):
        if all(item is None or type(item) in (int, float) for item in value):
            return tuple(None if item is None or item != item else item for item in value)
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get("b64"), str):
            return str(value["b64"])
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return None if value != value else value


def _member(record: Node, name: str) -> Node | None:
    return record[name] if name in (record.keys or ()) else None


def _is_number(leaf: Node) -> bool:
    return leaf.value is None or type(leaf.value) in (int, float)


def _is_same(one: Cell, other: Cell) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if type(one) in (int, float) and type(other) in (int, float):
        return one == other
    return type(one) is type(other) and one == other


def _replaceable(node: Node | None) -> list[Node]:
    """The scalars of a cell that a replacement can be put into: none of an object's, none of lists in lists."""
    if node is None or isinstance(node.value, dict):
        return []
    if isinstance(node.value, list) and any(isinstance(item, (list, dict)) for item in node.value):
        return []
    return list(node.leaves())


def _column_kind(nodes: Sequence[Node | None], datatype: str) -> str:
    """Say what a column may take: by the datatype of its tensor, else by what stands in it."""
    if datatype in _DATATYPES:
        return _DATATYPES[datatype]
    kinds = {kind for node in nodes if node is not None for kind in _kinds_in(node)} - {type(None)}
    if kinds and kinds <= {int, float}:
        return "whole" if kinds == {int} else "real"
    return {str: "text", bool: "flag"}.get(kinds.pop(), "any") if len(kinds) == 1 else "any"


def _kinds_in(node: Node) -> set[type]:
    if isinstance(node.value, list):
        return {kind for item in node.nodes for kind in _kinds_in(item)}
    return {type(node.value)}


_DATATYPES: Final = {
    "FP64": "real", "FP32": "narrow", "INT64": "whole", "INT32": "whole", "BYTES": "text", "BOOL": "flag",
}  # fmt: skip


def _another(kind: str, rng: random.Random) -> Cell:
    if rng.random() < 0.1:
        return None
    return {
        "whole": lambda: rng.randint(-(2**15), 2**15 - 1),
        "real": lambda: rng.choice(
            (rng.uniform(-1e3, 1e3), 0.1, 1e-7, 1e22, float(rng.randint(-9, 9)), rng.randint(-9, 9))
        ),
        "narrow": lambda: rng.choice((0.1, 1 / 3, 16777217.0, 1e-45, 3.0, 2.0**-30)),
        "text": lambda: "".join(rng.choices(TEXTS_TO_WRITE, k=3)),
        "flag": lambda: rng.random() < 0.5,
        "any": lambda: rng.choice((0.25, 7, "é", True)),
    }[kind]()


TEXTS_TO_WRITE: Final = ("", "a", "é", "😀", '"', "\\", "\n", "\0", "NaN", "{")


def _unfit(kind: str) -> Cell:
    """Return a value that a column of a kind cannot hold; None where it holds everything."""
    return {"whole": 3.5, "real": "1", "narrow": 1e300, "text": 1.0, "flag": 1, "any": None}[kind]


def _says(text: str, value: Cell, kind: str) -> bool:
    """Tell whether a text of JSON says what was to be written."""
    read = json.loads(text)
    if value is None:
        return read is None or read != read
    if kind == "narrow" and type(value) is float:
        return np.float32(read) == np.float32(value) and len(text) <= len(repr(float(str(np.float32(value)))))
    return _is_same(read, value)


# --------------------------------------------------------------------------------------------------------------- runs


def codecs_of() -> dict[tuple[Place, bool], Codec]:
    """Return the codec of each place, with simdjson and without."""
    parsers = (True, False) if DEFAULT_PARSER is not None else (False,)
    return {
        (place, fast): make_codec(
            place.protocol, place.options, JsonReader(parser=DEFAULT_PARSER if fast else None)
        )
        for place in PLACES
        for fast in parsers
    }


def run(documents: int, seed: int) -> tuple[Counter[str], list[tuple[str, Document]]]:
    """Check documents; return how many were checked how, and the failures with their sentences."""
    rng = random.Random(seed)
    codecs = codecs_of()
    done: Counter[str] = Counter()
    failures: list[tuple[str, Document]] = []
    for _ in range(documents):
        document = make_document(rng)
        fast = rng.random() < 0.5 and (document.place, True) in codecs
        try:
            done[check_document(codecs[document.place, fast], document, rng)] += 1
        except Exception as error:  # noqa: BLE001 - whatever a codec raises is a failure of the law
            failures.append((f"{type(error).__name__}: {error}", document))
        done[f"{document.place.protocol} {document.place.side} {document.layout.name}"] += 1
    return done, failures


def main() -> None:
    """Run and report; exit 1 when a law was broken."""
    parser = argparse.ArgumentParser(description="Fuzz the JSON codecs.")
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=5)
    given = parser.parse_args()
    print(describe())
    began = time.perf_counter()
    done, failures = run(given.documents, given.seed)
    took = time.perf_counter() - began
    for what, count in sorted(done.items()):
        print(f"{count:8,}  {what}")
    print(
        f"{given.documents:,} documents in {took:.1f} s ({given.documents / took:,.0f}/s), {len(failures)} failures"
    )
    for sentence, document in sorted(failures, key=lambda failure: len(failure[1].text))[: given.show]:
        print(
            f"\n{document.place.protocol}, {document.layout.name}, {document.rows} rows: {sentence}\n{document.text}"
        )
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
