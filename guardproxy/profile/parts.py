"""The file of a part: what a learner knows, to be merged with that of other parts.

Decides what such a file holds and that a damaged one is refused with a sentence. It carries no code, only numbers and texts: its
first line says what it is, the rest is packed (see `packing`). How states are merged is left to `state`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from guardproxy.profile.clock import Clock
from guardproxy.profile.columns import ArrayColumn, Column, NumberColumn, TextColumn
from guardproxy.profile.packing import Node, Packed, pack, unpack
from guardproxy.profile.reservoir import Reservoir
from guardproxy.profile.state import HOLD_BACK, MAX_FIELDS, LearnerState, Settings, Span
from guardproxy.profile.summary import FieldSummary

MAGIC: Final = b"guardproxy part 1\n"
"""How the file of a part begins; the number is its format."""

_ANY_FORMAT: Final = b"guardproxy part "


def dump_part(state: LearnerState) -> bytes:
    """Return a state as the bytes of a part."""
    settings = state.settings
    packed = {
        "model": settings.model,
        "target": list(settings.target),
        "keys": list(settings.keys),
        "time": settings.time,
        "alpha": settings.alpha,
        "columns": list(state.columns),
        "rows": state.rows,
        "fitted": state.fitted,
        "delay": state.delay,
        "clock": state.clock.pack(),
        "fields": {str(place): summary.pack() for place, summary in enumerate(state.summaries.values())},
        "lacks": np.array([state.lacks[name] for name in state.columns], dtype=np.uint64).reshape(-1, 2),
        "reservoir": state.reservoir.pack(),
        "waiting": {str(place): _pack_span(span) for place, span in enumerate(state.waiting)},
    }
    return MAGIC + pack(packed)


def load_part(data: bytes, name: str) -> LearnerState:
    """Read the bytes of a part; `name` is what it is called in errors.

    Raises ValueError, with one sentence, for bytes that are no part, of another format, damaged or too large.
    """
    if not data.startswith(MAGIC):
        if data.startswith(_ANY_FORMAT):
            raise ValueError(f"{name}: the part is of another format; learn it again with this version")
        raise ValueError(f"{name}: this is no part; make one with guardproxy learn --part")
    node = unpack(data[len(MAGIC) :], name)
    state = _state(node, name)
    waiting = sum(span.rows for span in state.waiting)
    if state.rows != state.fitted + waiting or waiting > state.delay:
        raise node.damaged("its rows do not add up")
    return state


def _state(node: Node, name: str) -> LearnerState:
    settings = Settings(
        node.text("model"),
        node.texts("target"),
        node.texts("keys"),
        node.text_or_none("time"),
        node.number("alpha"),
    )
    columns = node.texts("columns")
    if not 0.0 < settings.alpha < 1.0 or not 0 < len(columns) == len(set(columns)) <= MAX_FIELDS:
        raise node.damaged("its columns or its alpha cannot be")
    state = LearnerState(settings, columns, name)
    state.rows, state.fitted = node.integer("rows"), node.integer("fitted")
    state.delay = node.integer("delay", low=1, high=HOLD_BACK)
    state.clock = Clock.unpack(node.node("clock"))
    fields = node.node("fields")
    state.summaries = {
        column: FieldSummary.unpack(fields.node(str(place))) for place, column in enumerate(columns)
    }
    lacks = node.array("lacks", np.uint64, ndim=2)
    if lacks.shape != (len(columns), 2):
        raise node.damaged("its missing cells do not match its columns")
    state.lacks = {
        column: (count, total) for column, (count, total) in zip(columns, lacks.tolist(), strict=True)
    }
    state.reservoir = Reservoir.unpack(node.node("reservoir"), len(columns))
    for _, inner in node.nodes("waiting"):
        state.waiting.append(_unpack_span(inner, columns))
    return state


def _pack_span(span: Span) -> Packed:
    columns = {str(place): _pack_column(column) for place, column in enumerate(span.columns.values())}
    return {"keys": span.keys, "at": span.at, "columns": columns}


def _unpack_span(node: Node, names: tuple[str, ...]) -> Span:
    keys, at, inner = node.array("keys", np.float64), node.array("at", np.float64), node.node("columns")
    columns: dict[str, Column] = {}
    for place, name in enumerate(names):
        column = inner.node(str(place))
        read = _READERS.get(column.text("kind"))
        if read is None:
            raise node.damaged("a kind of column that there is not")
        columns[name] = read(column)
        if len(columns[name]) != len(keys):
            raise node.damaged("its waiting rows do not match")
    if len(at) != len(keys):
        raise node.damaged("its waiting rows do not match")
    return Span(columns, keys, at)


def _pack_column(column: Column) -> Packed:
    if isinstance(column, NumberColumn):
        nulls = None if column.nulls is None else {"at": column.nulls.astype(np.uint8)}
        return {"kind": "numbers", "values": column.values, "nulls": nulls}
    if isinstance(column, ArrayColumn):
        members, ends = column.members[column.ends[0] : column.ends[-1]], column.ends - column.ends[0]
        return {
            "kind": "arrays",
            "members": members,
            "ends": ends,
            "missing": column.missing.astype(np.uint8),
        }
    used = np.unique(column.codes[column.codes >= 0])
    codes = np.full(len(column.values) + 1, -1, dtype=np.int32)
    codes[used] = np.arange(len(used))
    return {
        "kind": "texts",
        "codes": codes[column.codes],
        "values": [column.values[code] for code in used.tolist()],
        "literal": column.literal,
    }


def _numbers(node: Node) -> Column:
    values, nulls = node.array("values", np.float64), node.maybe("nulls")
    if nulls is None:
        return NumberColumn(values)
    marks = nulls.array("at", np.uint8).astype(np.bool_)
    if len(marks) != len(values):
        raise node.damaged("its nulls do not match")
    return NumberColumn(values, marks)


def _texts(node: Node) -> Column:
    codes, values = node.array("codes", np.int32), node.texts("values")
    if len(codes) and not -1 <= codes.min() <= codes.max() < len(values):
        raise node.damaged("its texts do not match")
    return TextColumn(codes, values, node.flag("literal"))


def _arrays(node: Node) -> Column:
    members, ends = node.array("members", np.float64), node.array("ends", np.int64)
    missing = node.array("missing", np.uint8).astype(np.bool_)
    fine = len(ends) == len(missing) + 1 and ends[0] == 0 and ends[-1] == len(members)
    if not fine or (np.diff(ends) < 0).any():
        raise node.damaged("its arrays do not match")
    return ArrayColumn(members, ends, missing)


_READERS: Final[Mapping[str, Callable[[Node], Column]]] = MappingProxyType(
    {"numbers": _numbers, "texts": _texts, "arrays": _arrays}
)
