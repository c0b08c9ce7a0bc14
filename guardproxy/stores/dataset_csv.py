"""A CSV file as a stream of columns, in memory that does not grow with the file.

Decides how lines become numbers and texts: a column's type is decided by what each stretch of it holds, so a column that
turns from whole numbers to fractions or to text half-way is read like any other. A line that cannot be read is named by
its row, line and column. Needs pyarrow.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from guardproxy.profile.columns import Batch, Column, NumberColumn, TextColumn
from guardproxy.profile.learn import MAX_FIELDS
from guardproxy.stores import dataset_file
from guardproxy.stores.dataset_file import CUT, Dataset, DatasetError, Metered, coded, floats, refuse_equal

HEADER_BYTES: Final = 1024 * 1024
MISSING: Final = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "Null", "None", "<NA>")
GZIP: Final = b"\x1f\x8b"

_PROBE: Final = 10_000
_SURELY_TEXT: Final = 100
"""A column with this many different texts and no number in one stretch is not tried as numbers again."""

_DELIMITERS: Final = (",", "\t", ";", "|")


class CsvDataset(Dataset):
    """An open CSV file, plain or in gzip. The first line names the columns; the delimiter is found in it."""

    def __init__(self, path: Path, file: BinaryIO, size: int, *, packed: bool) -> None:
        super().__init__(path, file, size)
        self._packed = packed
        self._header, self._delimiter = self._read_header()
        self.columns = tuple(name for name in self._header if name)
        if "" in self._header:
            self.notes.append("a column without a name was left out")
        refuse_equal(path, self.columns)
        self._texts: dict[str, bool] = {}

    def __iter__(self) -> Iterator[Batch]:
        import pyarrow as pa

        metered = Metered(self._file, self)
        quotes = _Quotes(gzip.GzipFile(fileobj=metered) if self._packed else metered)
        try:
            with self._reader(pa.PythonFile(quotes, mode="r")) as reader:
                for batch in reader:
                    if batch.num_rows:
                        yield {
                            name: self._column(name, cells)
                            for name, cells in zip(batch.schema.names, batch.columns, strict=True)
                        }
        except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
            raise self._broken(error) from error
        # Arrow takes all that follows a quote that is never closed for one cell, and says nothing.
        if quotes.count % 2 and (where := self._where(_endless)):
            raise DatasetError(f"{self.path}: {where}a quote is opened and never closed")
        self.sha256 = metered.finish()

    def _reader(self, source: Any) -> Any:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        return arrow_csv.open_csv(
            source,
            read_options=arrow_csv.ReadOptions(
                block_size=dataset_file.BLOCK_BYTES,
                column_names=list(self._unique_header()),
                skip_rows_after_names=1,
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in self.columns},
                include_columns=list(self.columns),
                null_values=list(MISSING),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )

    def _read_header(self) -> tuple[tuple[str, ...], str]:
        try:
            start = self._plain().read(HEADER_BYTES)
            self._file.seek(0)
        except (OSError, EOFError, zlib.error):
            raise DatasetError(f"{self.path}: this is no gzip file, or {CUT}") from None
        line, end, _ = start.partition(b"\n")
        if not end and len(start) == HEADER_BYTES:
            raise DatasetError(
                f"{self.path}: line 1 is longer than {HEADER_BYTES // 1024**2} MiB; it must name the columns, "
                f"at most {MAX_FIELDS:,}"
            )
        try:
            first = line.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DatasetError(f"{self.path}: line 1 is not UTF-8 text, {_likely(start)}") from None
        delimiter = max(_DELIMITERS, key=first.count)
        # A quoted name may go over several lines.
        text = start.decode("utf-8-sig", errors="replace")
        try:
            header = next(csv.reader(io.StringIO(text), delimiter=delimiter), [])
        except csv.Error:
            header = []
        if not any(name.strip() for name in header):
            raise DatasetError(f"{self.path}: the first line must name the columns")
        return tuple(name.strip() for name in header), delimiter

    def _plain(self) -> Any:
        return gzip.GzipFile(fileobj=self._file) if self._packed else self._file

    def _unique_header(self) -> Iterator[str]:
        for position, name in enumerate(self._header):
            yield name or f"\0unnamed {position}"

    def _column(self, name: str, cells: Any) -> Column:
        """Read a stretch of texts as numbers where all of them are, else as texts."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if name not in self._texts:
            # A leading zero (a postal code, 007) says that the digits are a name.
            probe = cells.slice(0, _PROBE)
            self._texts[name] = bool(pc.any(pc.match_substring_regex(probe, r"^\s*0\d")).as_py())
        if self._texts[name]:
            return coded(cells, literal=True)
        for prepare in _PREPARATIONS:
            try:
                numbers = pc.cast(prepare(pc, cells), pa.float64())
            except pa.ArrowInvalid:
                continue
            return NumberColumn(floats(numbers))
        column = coded(cells, literal=False)
        sample = TextColumn(column.codes[:0], column.values[:_PROBE])
        if len(sample.values) >= _SURELY_TEXT and np.isnan(sample.numbers()).all():
            self._texts[name] = True
        return column

    def _broken(self, error: Exception) -> DatasetError:
        words = " ".join(str(error).split())
        for part, (wrong, sentence) in _FAULTS.items():
            if part in words:
                return DatasetError(f"{self.path}: {self._where(wrong)}{sentence}")
        return DatasetError(f"{self.path}: {words[:300]}; {CUT}")

    def _where(self, wrong: "_Wrong | None") -> str:
        """Go through the file once more, slowly, to say where the first wrong row is; nothing when it is not found."""
        if wrong is None:
            return ""
        place = self._find(wrong)
        if place is None:
            return ""
        names = [name for name in self._header[place.cell : place.cell + 1] if name]
        column = f", column '{names[0]}'" if names else ""
        return f"row {place.row:,} (line {place.line:,}){column}: "

    def _find(self, wrong: "_Wrong") -> "_Place | None":
        row, line = -1, 1
        try:
            with self.path.open("rb") as file:
                plain: Any = gzip.GzipFile(fileobj=file) if self._packed else file
                # In Latin-1 every byte is a character, so any file can be cut into cells.
                text = io.TextIOWrapper(plain, "latin-1", newline="")
                reader = csv.reader(text, delimiter=self._delimiter, strict=wrong is _endless)
                for cells in reader:
                    row += bool(cells)
                    cell = wrong(cells, len(self._header)) if row and cells else None
                    if cell is not None:
                        return _Place(row, line, cell)
                    line = reader.line_num + 1
        except (OSError, EOFError, zlib.error):
            return None
        except csv.Error as error:
            # A cell that does not end: its row is where the reader stopped.
            endless = "end of data" in str(error) or "limit" in str(error)
            return _Place(row + 1, line, len(self._header)) if endless else None
        return None


class _Quotes(io.RawIOBase):
    """Counts the quotes of the text that is read through it."""

    def __init__(self, inner: Any) -> None:
        self.count = 0
        self._inner = inner

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._inner.read(size)
        self.count += data.count(b'"')
        return data


class _Place(NamedTuple):
    """Where a row is: its number (1 is the first below the names), the line it begins in, and the cell."""

    row: int
    line: int
    cell: int


_Wrong = Callable[[list[str], int], int | None]
"""Tells which cell of a row is wrong, the number of columns at hand; a cell beyond the last stands for the whole row."""


def _not_utf8(cells: list[str], _columns: int) -> int | None:
    for number, cell in enumerate(cells):
        if not cell.isascii():
            try:
                cell.encode("latin-1").decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def _ragged(cells: list[str], columns: int) -> int | None:
    return None if len(cells) == columns else columns


def _endless(cells: list[str], columns: int) -> int | None:
    return columns if sum(map(len, cells)) > dataset_file.BLOCK_BYTES // 2 else None


_FAULTS: Final[dict[str, tuple[_Wrong | None, str]]] = {
    "Expected": (_ragged, "every line must have as many values as the first"),
    "invalid UTF8": (_not_utf8, "this is not UTF-8 text; save the file as UTF-8"),
    "straddling": (
        _endless,
        f"a line is longer than {dataset_file.BLOCK_BYTES // 1024**2} MiB; is a quote never closed?",
    ),
    "zlib": (None, CUT),
}

_PREPARATIONS: Final[tuple[Callable[[Any, Any], Any], ...]] = (
    lambda _, cells: cells,
    lambda pc, cells: pc.utf8_trim_whitespace(cells),
)


def _likely(start: bytes) -> str:
    """Say what a file is that does not begin with text."""
    for magic, sentence in _MAGIC.items():
        if start.startswith(magic):
            return sentence
    return "nor is the file Parquet; save the file as UTF-8"


_MAGIC: Final = {
    b"PK\x03\x04": "but a zip or Excel file; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "but an old Excel file; save the sheet as CSV",
    b"\xff\xfe": "but most likely UTF-16; save the file as UTF-8",
    b"\xfe\xff": "but most likely UTF-16; save the file as UTF-8",
}
