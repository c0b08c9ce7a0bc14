"""CSV: a line is a row, a cell a field.

Decides what is read alike by all readers of the field, above all pandas, which reads the CSV that MLflow gets; whatever
they read differently is undecodable: a quote inside a bare cell, text behind a closing quote, a carriage return by itself,
two columns of one name, lines of different length, a NUL. A blank line is no row.

Cells have no type of their own, so a column has one, from all of its cells, quoted or not: numbers when each is a number
or missing, else yes and no when each says `true` or `false`, else text. A column that the model's signature calls BYTES is
text whatever is in it. Missing is an empty cell or one of the words in `csv_cells.MISSING`, spelled just so. Whole numbers stay exact.

An answer has a row in each line. One line with as many cells as the request has rows (as boosted trees answer) has a row
in each cell; several lines of one cell each are the vector of a single row. Several numbers in a line are a vector. Which
media type means CSV and whether a request begins with a line of names is left to the presets.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.cells import plain_row
from guardproxy.codecs.csv_cells import BLANK, PLAIN_BYTES, CsvColumn, column_values, unquoted, without_gaps
from guardproxy.codecs.json_spans import Path, value_at
from guardproxy.codecs.json_text import DEFAULT_PARSER, SIMD_FROM, SimdParser, is_exact_block, strict_text
from guardproxy.codecs.layouts import (
    MAX_FIELDS,
    block_table,
    check_fields,
    check_rows,
    column_table,
    columns_table,
    distinct,
)
from guardproxy.codecs.media_types import check_charset
from guardproxy.codecs.names import Names
from guardproxy.codecs.patching import Plan, write_once
from guardproxy.codecs.predictions import Field, named_fields, response_fields
from guardproxy.codecs.signature import Column
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Floats, Table

MAX_SINGLE: Final = 2_048
"""Single lines of more cells are read as blocks."""

MAX_QUOTED_COMMAS: Final = 16 * MAX_FIELDS
"""Lines with quotes and more commas are not looked at."""

_QUOTED: Final = re.compile(r'("(?:[^"]++|"")*+"|[^",\r]*+),|([\s\S]++)')


class _Line(NamedTuple):
    """A line that is not blank: where it begins, in characters, and its cells as they stand, quotes and all."""

    start: int
    cells: list[str]


class _Place(NamedTuple):
    """What an answer is in the terms of `predictions`, and where the value at a path in it stands."""

    located: list[Any]
    cell_of: Callable[[Path], tuple[int, int]]
    """Returns the line and the cell."""


class _Numbers(NamedTuple):
    """Plain numbers in order of lines: a list where a single line has no gap, else a block with NaN in the gaps."""

    values: Floats | list[float]
    rows: int
    width: int


class CsvLines:
    """Rows in CSV; implements `Container`. With `header` a request begins with a line of names; an answer never does.

    `parser` makes a simdjson parser for large bodies of plain numbers; None goes without.
    """

    def __init__(
        self,
        options: CodecOptions,
        *,
        header: bool = False,
        parser: Callable[[], SimdParser] | None = DEFAULT_PARSER,
    ) -> None:
        self._names = Names(options)
        self._limit = options.max_rows
        self._header = header
        self._parser = parser
        signature = options.signature
        self._inputs = () if signature is None else signature.inputs
        self._outputs = () if signature is None else signature.outputs
        self._text_outputs = any(_texts_at(self._outputs, len(self._outputs)))

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request; see `Container`."""
        check_charset(message.content_type)
        body = message.body
        head, after, rest = body.partition(b"\n") if self._header else (b"", b"", body)
        # Names in quotes may hold line breaks, and blank lines may stand before them.
        if self._header and (b'"' in head or not head.strip() or not after):
            return self._table(body)
        numbers = self._numbers(rest)
        if numbers is None:
            return self._table(body)
        names = self._names_of(head.removesuffix(b"\r").decode("utf-8", "replace"), numbers.width)
        if names is None or any(_texts(self._inputs, names)):
            return self._table(body)
        if isinstance(numbers.values, list):
            return Table(names, 1, None, single=numbers.values)
        return block_table(names, numbers.values.reshape(numbers.rows, numbers.width))

    def decode_response(self, message: Message, rows: int | None) -> Table:
        """Return the predictions of a response; see `Container`."""
        check_charset(message.content_type)
        numbers = None if self._text_outputs else self._numbers(message.body)
        if numbers is None:
            place = self._place(self._lines(message.body), rows)
        else:
            matrix = np.array(numbers.values, dtype=np.float64).reshape(numbers.rows, numbers.width)
            if numbers.width == 1 or numbers.rows == 1:
                column = matrix.reshape(-1)
                if len(column) == (numbers.rows if rows is None else rows):
                    return column_table(self._names.single, column)
            place = _placed([[None if n != n else n for n in line] for line in matrix.tolist()], rows)
        if rows is None:
            rows = len(place.located)
        fields = self._fields(place, rows)
        return columns_table([field[:2] for field in fields], rows, exact=True)

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:
        """Return the response with the replaced cells in it; see `Container`."""
        if not patch:
            return message
        check_charset(message.content_type)
        lines = self._lines(message.body)
        place = self._place(lines, rows)
        texts = _Plan(lines, place, self._fields(place, rows), rows).texts(patch)
        if not texts:
            return message
        text = strict_text(message.body)
        parts: list[str] = []
        at = 0
        for (line, cell), new in sorted(texts.items()):
            start, cells = lines[line]
            start += sum(len(raw) + 1 for raw in cells[:cell])
            parts += (text[at:start], new)
            at = start + len(cells[cell])
        return message._replace(body="".join((*parts, text[at:])).encode("utf-8"))

    def _table(self, body: bytes) -> Table:
        """Return the table of a request that is not all plain numbers."""
        lines = self._lines(body, int(self._header))
        header = None
        if self._header:
            if not lines:
                raise DecodeError("the body has no line with the columns' names")
            header = lines.pop(0)
        widths = set(map(len, (line.cells for line in lines)))
        if len(widths) > 1:
            raise DecodeError("the lines are not all of the same length")
        width = widths.pop() if widths else 0
        if header is None:
            names = self._names.features(width)
        else:
            names = _header_names(header.cells)
            if width not in {0, len(names)}:
                raise DecodeError(f"the lines have {width} cells for {len(names)} columns")
        check_fields(len(names))
        raw = zip(*(line.cells for line in lines), strict=True) if lines else [()] * len(names)
        texts = _texts(self._inputs, names)
        columns = [
            (name, column_values(cells, text)) for name, cells, text in zip(names, raw, texts, strict=True)
        ]
        return columns_table(columns, len(lines), exact=True)

    def _names_of(self, head: str, width: int) -> tuple[str, ...] | None:
        """Return the names of a request of plain numbers; None where only the reading that tells all can say them."""
        if not self._header:
            return self._names.features(width)
        cells = head.split(",")
        if len(cells) != width or not head.isprintable() or "\ufffd" in head or "\ufeff" in head:
            return None
        return _header_names(cells)

    def _fields(self, place: _Place, rows: int) -> list[Field]:
        return named_fields(response_fields(place.located, rows)[0], self._names.outputs)

    def _place(self, lines: list[_Line], rows: int | None) -> _Place:
        """Return an answer's cells, read column by column."""
        widths = set(map(len, (line.cells for line in lines)))
        if len(widths) > 1:
            raise UnalignedError("the lines are not all of the same length")
        width = widths.pop() if widths else 1
        if len(lines) == 1 and rows not in {None, 1}:
            return _placed([list(column_values(lines[0].cells, any(_texts_at(self._outputs, 1))))], rows)
        texts = _texts_at(self._outputs, width)
        raw = zip(*(line.cells for line in lines), strict=True)
        columns = [column_values(cells, text) for cells, text in zip(raw, texts, strict=False)]
        return _placed([list(line) for line in zip(*columns, strict=True)], rows)

    def _lines(self, body: bytes, beside: int = 0) -> list[_Line]:
        """Return the lines that are not blank. `beside` is how many of them are no rows. Raises DecodeError."""
        text = strict_text(body)
        if "\0" in text:
            raise DecodeError("the body has a NUL in it")
        check_rows(text.count("\n") - beside, self._limit)
        lines: list[_Line] = []
        start = at = quotes = 0
        quoted = '"' in text
        for line in text.split("\n"):
            at += len(line) + 1
            if quoted:
                quotes += line.count('"')
                if quotes % 2 and at <= len(text):
                    continue  # the line break is in quotes
                line = text[start : at - 1]
            # A carriage return at the end of a last line that has no break means nothing.
            if line.endswith("\r") and at <= len(text):
                line = line[:-1]
            if line.strip(BLANK):
                lines.append(_Line(start, _cells_of(line)))
            start, quotes = at, 0
        check_rows(len(lines) - beside, self._limit)
        return lines

    def _numbers(self, body: bytes) -> _Numbers | None:
        """Read lines of plain numbers and gaps at once; None when they are anything else.

        The text is read as a JSON array, each gap as null: whoever takes that for numbers has the same numbers, as far as
        they are below 2**53.
        """
        data = (body.replace(b"\r\n", b"\n") if b"\r" in body else body).removesuffix(b"\n")
        # Without the characters of numbers, an even table of them is a pattern of commas and breaks. A blank line is none.
        marks = data.translate(None, PLAIN_BYTES)
        rows = marks.count(b"\n") + 1
        width = (marks.find(b"\n") if rows > 1 else len(marks)) + 1
        if not data or width > MAX_FIELDS or rows > self._limit or not _is_even(marks, rows, width):
            return None
        if width == 1 and _has_blank(data):
            return None
        flat = data.replace(b"\n", b",")
        alone = rows == 1 and width <= MAX_SINGLE
        values = self._read(flat, alone=alone)
        if values is None and (filled := without_gaps(flat)) is not flat:
            values = self._read(filled, alone=False)
        return None if values is None or len(values) != rows * width else _Numbers(values, rows, width)

    def _read(self, cells: bytes, *, alone: bool) -> Floats | list[float] | None:
        """Return plain numbers, as a list where they stand `alone` in one line and none is missing; None when they are no
        JSON, or such as a float64 may not hold."""
        array = b"[" + cells + b"]"
        try:
            if self._parser is not None and len(array) >= SIMD_FROM and b"n" not in array:
                block: Floats = np.frombuffer(self._parser().parse(array).as_buffer(of_type="d"))
            else:
                values = orjson.loads(array)
                numbers = plain_row(values) if alone else None
                if numbers is not None:
                    return numbers
                block = np.array(values, dtype=np.float64)
        except (ValueError, TypeError, RuntimeError):
            return None
        return block if is_exact_block(block) else None


class _Plan(Plan):
    """Turns replacements into new texts of cells."""

    def __init__(self, lines: Sequence[_Line], place: _Place, fields: Sequence[Field], rows: int) -> None:
        super().__init__(fields, rows)
        self._lines = lines
        self._place = place
        self._columns: dict[str, CsvColumn] = {}
        self._made: dict[tuple[int, int], str] = {}

    def texts(self, patch: Sequence[Replacement]) -> Mapping[tuple[int, int], str]:
        """Return the new text of each cell that changes, by line and cell."""
        self.take(patch)
        return self._made

    def _old(self, path: Path) -> Any:
        return value_at(self._place.located, path)

    def _write(self, path: Path, new: Any, old: Any, field: Field) -> None:
        line, at = self._place.cell_of(path)
        text = self._column(field).text(new, old, self._lines[line].cells[at])
        if text is not None:
            write_once(self._made, (line, at), text)

    def _column(self, field: Field) -> CsvColumn:
        found = self._columns.get(field.name)
        if found is None:
            places = [self._place.cell_of(path) for row in range(self._rows) for path in field.leaves(row)]
            cells = [self._lines[line].cells[at] for line, at in places]
            found = CsvColumn(self._kind(field), cells, [line.cells for line in self._lines])
            self._columns[field.name] = found
        return found


def _placed(matrix: list[list[Any]], rows: int | None) -> _Place:
    """Say what the cells of an answer are: a value in each line, a value in each cell of one line, or lines of values."""
    width = len(matrix[0]) if matrix else 1
    if width == 1:
        return _Place([line[0] for line in matrix], lambda path: (int(path[0]), 0))
    if len(matrix) == 1 and rows not in {None, 1}:
        return _Place(matrix[0], lambda path: (0, int(path[0])))
    if rows is not None and len(matrix) != rows:
        raise UnalignedError(f"the response has {len(matrix)} lines for {rows} rows")
    return _Place(matrix, lambda path: (int(path[0]), int(path[1])))


def _cells_of(line: str) -> list[str]:
    """Return a line's cells as they stand. Raises DecodeError."""
    if '"' not in line:
        if "\r" in line:
            raise DecodeError("a carriage return stands by itself")
        if len(line) >= MAX_FIELDS:
            check_fields(line.count(",") + 1)
        return line.split(",")
    # Commas in quotes are none, but a line of far too many would take far too much memory.
    if line.count(",") > MAX_QUOTED_COMMAS:
        raise OpaqueError(f"a line has more than {MAX_QUOTED_COMMAS} commas")
    found = _QUOTED.findall(f"{line},")
    if found[-1][1]:
        raise DecodeError("a line has a quote or a carriage return where none can be")
    check_fields(len(found))
    return [raw for raw, _ in found]


def _header_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns; one without a name (an index that was written along) is called as pandas calls it."""
    names = (unquoted(cell) or f"Unnamed: {at}" for at, cell in enumerate(cells))
    return distinct(names, "the columns' names")


def _texts(columns: Sequence[Column], names: Sequence[str]) -> list[bool]:
    """Tell of each name whether the signature says that the column is text."""
    texts = {column.name for column in columns if column.datatype == "BYTES"}
    return [name in texts for name in names]


def _texts_at(columns: Sequence[Column], width: int) -> list[bool]:
    """The same of columns without names, where the signature has as many."""
    if len(columns) != width:
        return [False] * width
    return [column.datatype == "BYTES" for column in columns]


def _is_even(marks: bytes, rows: int, width: int) -> bool:
    """Tell whether marks are the commas and line breaks of an even table, without the last break."""
    # The length first: the pattern of another could be far larger than the body.
    return len(marks) == rows * width - 1 and marks == ((b"," * (width - 1) + b"\n") * rows)[:-1]


def _has_blank(data: bytes) -> bool:
    return b"\n\n" in data or data.startswith(b"\n") or data.endswith(b"\n")
