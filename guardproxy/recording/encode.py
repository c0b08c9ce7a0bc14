"""Records as lines of JSON, and back without any loss.

Decides how cells that JSON cannot say are spelled (infinities, whole numbers of any size, text with lone surrogates) and what
a line from elsewhere must be to be believed. Files and compression are left to `segments` and `read`.

A file begins with a header line. Before the records of a write stand its lines of names, so that no record repeats the
names of its fields: `{"names": ["f0", "f1"], "as": 3}`. A table is `[names, rows, cells]` with the cells field by field and
null where one is missing; what a float64 cannot hold follows in a fourth place.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import orjson

from guardproxy.decision import RequestFacts
from guardproxy.guard.recorded import Recorded
from guardproxy.table import EXACT_INTEGERS, Cell, Floats, Table, is_plain_number

FORMAT: Final = 1
MAX_LINE: Final = 32 * 1024 * 1024
"""Bytes of the longest line that is written or read."""
MAX_ROWS: Final = 1_000_000
MAX_NAMES: Final = 20_000
"""Lists of names in one write."""

Names: TypeAlias = tuple[str, ...]

_JSON: Final = orjson.OPT_SERIALIZE_NUMPY
_FLOAT: Final = {float}
_CELLS: Final = {float, type(None)}


class MalformedError(ValueError):
    """A line is not a record."""


def header_line(model: str, start: float) -> bytes:
    """Return the first line of a file."""
    return _line({"guardproxy_recording": FORMAT, "model": _cell(model), "start": start})


class Encoder:
    """Writes the records of one write: each list of names once."""

    def __init__(self) -> None:
        """Know no names."""
        self._known: dict[Names, int] = {}
        self._new: list[bytes] = []

    def encode(self, record: Recorded) -> bytes:
        """Return a record's line, behind the lines of the names that it is the first to use. Raises ValueError."""
        if len(record.outcomes) != record.features.rows:
            raise ValueError("every row has an outcome")
        facts = record.facts
        said = {
            "id": record.id,
            "ruleset": record.ruleset,
            "facts": [*facts[:4], _cell(facts.caller), _cell(facts.model_version)],
            "features": self._table(record.features),
            "predictions": None if record.predictions is None else self._table(record.predictions),
            "previous": [[self._names(by), self._rows(rows)] for by, rows in record.previous.items()],
            "outcomes": _shortest(record.outcomes),
            "violated": [[_cell(rule), rows] for rule, rows in record.violated.items()],
            "holds": record.holds,
            "weight": record.weight,
            "identity": record.identity.hex(),
            "redacted": [_cell(name) for name in record.redacted],
        }
        try:
            line = _line(said)
        except TypeError as error:
            raise ValueError(str(error)) from error
        if len(line) > MAX_LINE:
            raise ValueError("the record is too long")
        # Names that a record brought which could not be written wait for the next one.
        names, self._new = self._new, []
        return b"".join([*names, line])

    def _names(self, names: Names) -> int:
        number = self._known.get(names)
        if number is None:
            number = self._known[names] = len(self._known)
            self._new.append(_line({"names": [_cell(name) for name in names], "as": number}))
        return number

    def _table(self, table: Table) -> list[Any]:
        names = self._names(table.fields)
        if table.complete and table.rows == 1:
            cells = table.single()
            if all(map(math.isfinite, cells)):
                return [names, 1, cells]
        plain = [position for position, name in enumerate(table.fields) if name not in table.exact]
        block = table.block if len(plain) == len(table.fields) else table.block[plain]
        flat = np.ascontiguousarray(block, dtype=np.float64).ravel()
        rest: dict[str, Any] = {}
        for sign, key in ((math.inf, "inf"), (-math.inf, "-inf")):
            positions = np.flatnonzero(flat == sign)
            if len(positions):
                rest[key] = positions
        if table.exact:
            rest["exact"] = [
                [position, [_cell(cell) for cell in table.exact[name]]]
                for position, name in enumerate(table.fields)
                if name in table.exact
            ]
        return [names, table.rows, flat, rest] if rest else [names, table.rows, flat]

    def _rows(self, rows: Sequence[Mapping[str, Cell] | None]) -> list[Any]:
        return [
            None if row is None else [self._names(tuple(row)), [_cell(cell) for cell in row.values()]]
            for row in rows
        ]


class Decoder:
    """Reads the lines of one file. Raises MalformedError for a line that is not what an encoder writes."""

    def __init__(self, model: str) -> None:
        """Read what was recorded of `model`."""
        self.model = model
        self._names: dict[int, Names] = {}

    def decode(self, line: bytes) -> Recorded | None:
        """Return the record of a line; None for a line of names."""
        try:
            said = orjson.loads(line)
            if "names" in said:
                self._learn(said["as"], tuple(map(_text, said["names"])))
                return None
            return self._record(said)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
            raise MalformedError("not a record") from error

    def _learn(self, number: Any, names: Names) -> None:
        # Each write numbers its names anew; equal names stay one object, so that tables of a shape are quick to tell.
        if self._names.get(number) != names:
            if len(self._names) >= MAX_NAMES or len(set(names)) != len(names):
                raise MalformedError("no encoder writes such names")
            self._names[number] = names

    def _record(self, said: dict[str, Any]) -> Recorded:
        facts = _facts(said["facts"])
        features = self._table(said["features"])
        predictions, previous, violated = said["predictions"], said["previous"], said["violated"]
        answers = None if predictions is None else self._table(predictions)
        past = {self._names[by]: self._rows(rows) for by, rows in previous} if previous else {}
        counts = [len(rows) for rows in past.values()] + ([] if answers is None else [answers.rows])
        if any(count != features.rows for count in counts):
            raise MalformedError("every row of features has its predictions and its past")
        return Recorded(
            _plain_text(said["id"]),
            facts.at,
            self.model,
            _plain_text(said["ruleset"]),
            facts,
            features,
            answers,
            past,
            _words(said["outcomes"], features.rows),
            {_text(rule): _hits(rows, features.rows) for rule, rows in violated} if violated else {},
            tuple(map(_plain_text, said["holds"])),
            _weight(said["weight"]),
            bytes.fromhex(said["identity"]),
            tuple(map(_text, said["redacted"])),
        )

    def _table(self, said: list[Any]) -> Table:
        fields, rows, cells = self._names[said[0]], said[1], said[2]
        if type(rows) is not int:
            raise MalformedError("expected a count")
        if len(said) == 3 and rows == 1 and len(cells) == len(fields) and set(map(type, cells)) == _FLOAT:
            return Table(fields, 1, None, single=cells)
        return _table(fields, rows, cells, said[3] if len(said) > 3 else {})

    def _rows(self, rows: list[Any]) -> tuple[Mapping[str, Cell] | None, ...]:
        return tuple(
            None if row is None else dict(zip(self._names[row[0]], map(_read, row[1]), strict=True))
            for row in rows
        )


def read_header(line: bytes) -> tuple[int, str]:
    """Return a file's format and its model. Raises MalformedError when it is no recording of ours."""
    try:
        said = orjson.loads(line)
        return _row(said["guardproxy_recording"]), _text(said["model"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MalformedError("not a recording") from error


# -------------------------------------------------------------------- cells


def _cell(cell: Cell) -> object:
    """Say a cell in JSON: what JSON cannot say is an object that names its kind."""
    if cell is None or isinstance(cell, bool):
        return cell
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else {"f": str(cell)}
    if isinstance(cell, str):
        return (
            cell if cell.isascii() or _is_utf8(cell) else {"s": cell.encode("utf-8", "surrogatepass").hex()}
        )
    if isinstance(cell, tuple):
        return {"v": [_cell(part) for part in cell]}
    # Hexadecimal has no limit of digits and is read in linear time.
    return cell if -EXACT_INTEGERS < cell < EXACT_INTEGERS else {"i": hex(cell)}


def _read(said: Any) -> Cell:
    if isinstance(said, dict):
        ((kind, value),) = said.items()
        return _special(kind, value)
    if isinstance(said, list):
        raise MalformedError("a cell is no list")
    cell: Cell = said
    return cell


def _special(kind: str, value: Any) -> Cell:
    if kind == "i":
        return int(value, 16)
    if kind == "f":
        return _INFINITE[value]
    if kind == "s":
        return bytes.fromhex(value).decode("utf-8", "surrogatepass")
    if kind == "v":
        return tuple(_part(part) for part in value)
    raise MalformedError(f"no cell is of the kind {kind!r}")


_INFINITE: Final[Mapping[str, float | None]] = {"inf": math.inf, "-inf": -math.inf, "nan": None}


def _part(said: Any) -> float | int | None:
    part = _read(said)
    if part is None or (isinstance(part, (int, float)) and not isinstance(part, bool)):
        return part
    raise MalformedError("a vector holds numbers")


def _table(fields: Names, rows: int, cells: list[Any], rest: dict[str, Any]) -> Table:
    exact = {
        fields[_row(position)]: tuple(_read(cell) for cell in column)
        for position, column in rest.get("exact", ())
    }
    plain = [position for position, name in enumerate(fields) if name not in exact]
    if not 0 <= rows <= MAX_ROWS or len(cells) != rows * len(plain) or not set(map(type, cells)) <= _CELLS:
        raise MalformedError("the cells do not fill the table")
    flat = np.array(cells, dtype=np.float64)
    for sign, key in ((math.inf, "inf"), (-math.inf, "-inf")):
        if key in rest:
            flat[list(map(_row, rest[key]))] = sign
    block: Floats = np.full((len(fields), rows), np.nan)
    block[plain] = flat.reshape(len(plain), rows)
    for name, column in exact.items():
        if len(column) != rows:
            raise MalformedError("the cells do not fill the table")
        # The block holds the plain numbers of such a field, as in any table.
        block[fields.index(name)] = [cell if is_plain_number(cell) else math.nan for cell in column]
    block.flags.writeable = False
    return Table(fields, rows, block, exact)


# -------------------------------------------------------------------- pieces


def _line(said: object) -> bytes:
    return orjson.dumps(said, option=_JSON) + b"\n"


def _shortest(words: Sequence[str]) -> object:
    return words[0] if words and words.count(words[0]) == len(words) else words


def _words(said: Any, rows: int) -> tuple[str, ...]:
    words = (said,) * rows if isinstance(said, str) else tuple(map(_plain_text, said))
    if len(words) != rows:
        raise MalformedError("every row has an outcome")
    return words


def _hits(said: list[Any], rows: int) -> tuple[int, ...]:
    hits = tuple(map(_row, said))
    if hits and max(hits) >= rows:
        raise MalformedError("there is no such row")
    return hits


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _facts(said: list[Any]) -> RequestFacts:
    at, hour, weekday, date, caller, version = said
    if type(at) is not float or type(hour) is not int or type(weekday) is not int:
        raise MalformedError("a time is a number")
    return RequestFacts(
        at,
        hour,
        weekday,
        _plain_text(date),
        None if caller is None else _text(caller),
        None if version is None else _text(version),
    )


def _text(said: Any) -> str:
    return said if type(said) is str else _plain_text(_read(said))


def _plain_text(said: object) -> str:
    if type(said) is not str:
        raise MalformedError("expected text")
    return said


def _row(said: object) -> int:
    if type(said) is not int or said < 0:
        raise MalformedError("expected a count")
    return said


def _weight(said: object) -> float:
    if not isinstance(said, (int, float)) or said < 1:
        raise MalformedError("a weight is at least 1")
    return float(said)
