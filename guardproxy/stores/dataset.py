"""Reference data on disk: CSV and Parquet as a stream of columns, in memory that does not grow with the file.

Decides how a file becomes batches that the learner takes: a CSV column's type is decided by what each stretch of it holds,
so a column that turns from whole numbers to fractions or to text half-way is read like any other. What is learned of
the columns is left to `profile`. Needs pyarrow (the extra `learn`).
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, ClassVar, Final, Self

import numpy as np

from guardproxy.errors import Fault, GuardproxyError
from guardproxy.profile.columns import Batch, Column, NumberColumn, TextColumn
from guardproxy.profile.learn import MAX_FIELDS
from guardproxy.source import did_you_mean

BLOCK_BYTES: Final = 4 * 1024 * 1024
BATCH_ROWS: Final = 65_536
HEADER_BYTES: Final = 1024 * 1024
MISSING: Final = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "Null", "None", "<NA>")

_PROBE: Final = 10_000
_SURELY_TEXT: Final = 100
"""A column with this many different texts and no number in one stretch is not tried as numbers again."""

_DELIMITERS: Final = (",", "\t", ";", "|")


class DatasetError(GuardproxyError):
    """A file of reference data cannot be read. The message is one line for the operator."""

    fault: ClassVar[Fault] = Fault.OPERATOR


class Dataset:
    """An open file of rows. Iterate over it once; use it as a context manager.

    `columns` are the names in file order, `size` the file's bytes. While it is read, `position` is how many bytes are
    done; when it is read, `sha256` is the hash of the whole file. `notes` says what was left out.
    """

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path = path
        self.size = size
        self.position = 0
        self.columns: tuple[str, ...] = ()
        self.notes: list[str] = []
        self.sha256 = ""
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def select(self, skip: tuple[str, ...]) -> None:
        """Leave out these columns. Raises DatasetError for a name that is none."""
        for name in skip:
            self.require(name)
        self.columns = tuple(name for name in self.columns if name not in skip)

    def require(self, name: str) -> None:
        """Raise DatasetError when there is no column of this name."""
        if name not in self.columns:
            help_ = did_you_mean(name, self.columns)
            raise DatasetError(f"{self.path.name}: no column '{name}'" + (f"; {help_}" if help_ else ""))

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches of rows. Raises DatasetError when the file breaks on the way."""
        raise NotImplementedError


def open_dataset(path: Path) -> Dataset:
    """Open a CSV (plain or .gz) or Parquet file and read its column names.

    Raises DatasetError when it is missing, empty, unreadable, has no named or two equal columns, or pyarrow is absent.
    """
    _arrow()
    try:
        size = path.stat().st_size
        file = path.open("rb")
    except FileNotFoundError:
        raise DatasetError(f"{path.name}: there is no such file") from None
    except OSError as error:
        raise DatasetError(f"{path.name}: {error.strerror or 'cannot be opened'}") from error
    try:
        return _opened(path, file, size)
    except BaseException:
        file.close()
        raise


def _opened(path: Path, file: BinaryIO, size: int) -> Dataset:
    magic = file.read(4)
    file.seek(0)
    if not magic:
        raise DatasetError(f"{path.name}: the file is empty")
    return _Parquet(path, file, size) if magic == b"PAR1" else _Csv(path, file, size)


def _arrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise DatasetError('reading data needs pyarrow: pip install "guardproxy[learn]"') from None
    return pa


class _Csv(Dataset):
    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        super().__init__(path, file, size)
        self._packed = path.name.endswith(".gz")
        self._header, self._delimiter = self._read_header()
        self.columns = tuple(name for name in self._header if name)
        if "" in self._header:
            self.notes.append("a column without a name was left out")
        _refuse_names(path, self.columns)
        self._texts: dict[str, bool] = {}

    def __iter__(self) -> Iterator[Batch]:
        pa = _arrow()
        metered = _Metered(self._file, self)
        source: Any = pa.PythonFile(metered, mode="r")
        if self._packed:
            source = pa.CompressedInputStream(source, "gzip")
        try:
            with self._reader(source) as reader:
                for batch in reader:
                    if batch.num_rows:
                        yield {
                            name: self._column(name, cells)
                            for name, cells in zip(batch.schema.names, batch.columns, strict=True)
                        }
        except (pa.ArrowException, OSError) as error:
            raise _broken(self.path, error) from error
        self.sha256 = metered.finish()

    def _reader(self, source: Any) -> Any:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        return arrow_csv.open_csv(
            source,
            read_options=arrow_csv.ReadOptions(
                block_size=BLOCK_BYTES, column_names=list(self._unique_header()), skip_rows_after_names=1
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
        import gzip

        try:
            stream: Any = gzip.GzipFile(fileobj=self._file) if self._packed else self._file
            start = stream.read(HEADER_BYTES)
            self._file.seek(0)
            text = start.decode("utf-8-sig", errors="strict" if len(start) < HEADER_BYTES else "ignore")
        except (OSError, EOFError, UnicodeDecodeError):
            kind = "a gzip file" if self._packed else "UTF-8 text"
            raise DatasetError(f"{self.path.name}: the file is not {kind}, nor Parquet") from None
        first = text.split("\n", 1)[0]
        delimiter = max(_DELIMITERS, key=first.count)
        header = next(csv.reader(io.StringIO(text), delimiter=delimiter), [])
        if not any(name.strip() for name in header):
            raise DatasetError(f"{self.path.name}: the first line must name the columns")
        return tuple(name.strip() for name in header), delimiter

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
            return _coded(cells, literal=True)
        for prepare in _PREPARATIONS:
            try:
                numbers = pc.cast(prepare(pc, cells), pa.float64())
            except pa.ArrowInvalid:
                continue
            return NumberColumn(_floats(numbers))
        column = _coded(cells, literal=False)
        sample = TextColumn(column.codes[:0], column.values[:_PROBE])
        if len(sample.values) >= _SURELY_TEXT and np.isnan(sample.numbers()).all():
            self._texts[name] = True
        return column


_PREPARATIONS: Final[tuple[Callable[[Any, Any], Any], ...]] = (
    lambda _, cells: cells,
    lambda pc, cells: pc.utf8_trim_whitespace(cells),
)


class _Parquet(Dataset):
    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        super().__init__(path, file, size)
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._parquet = pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise _broken(path, error) from error
        schema = self._parquet.schema_arrow
        self._readers = {
            field.name: read for field in schema if (read := _parquet_reader(field.type)) is not None
        }
        for field in schema:
            if field.name not in self._readers:
                self.notes.append(f"the column '{field.name}' was left out: {field.type} is no single value")
        _refuse_names(path, tuple(schema.names))
        self.columns = tuple(self._readers)
        if not self.columns:
            raise DatasetError(f"{path.name}: no column holds numbers or texts")

    def __iter__(self) -> Iterator[Batch]:
        pa = _arrow()
        total, done = max(1, self._parquet.metadata.num_rows), 0
        try:
            for batch in self._parquet.iter_batches(batch_size=BATCH_ROWS, columns=list(self.columns)):
                done += batch.num_rows
                self.position = self.size * done // total
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                if batch.num_rows:
                    yield {name: self._readers[name](columns[name]) for name in self.columns}
            self._file.seek(0)
            self.sha256 = _Metered(self._file, self).finish()
        except (pa.ArrowException, OSError) as error:
            raise _broken(self.path, error) from error


def _parquet_reader(kind: Any) -> Callable[[Any], Column] | None:
    """Return how cells of a Parquet type are read; None for a type that is no single value."""
    import pyarrow as pa
    import pyarrow.types as pt

    def number(cells: Any) -> Column:
        return NumberColumn(_floats(cells.cast(pa.float64(), safe=False)))

    def text(cells: Any) -> Column:
        return _coded(cells.cast(pa.string()), literal=True)

    def yes_no(cells: Any) -> Column:
        return _coded(cells.cast(pa.string()), literal=False)

    value = kind.value_type if pt.is_dictionary(kind) else kind
    if pt.is_boolean(value):
        return yes_no
    if pt.is_integer(value) or pt.is_floating(value) or pt.is_decimal(value) or pt.is_null(value):
        return number
    if pt.is_string(value) or pt.is_large_string(value) or pt.is_date(value) or pt.is_timestamp(value):
        return text
    return None


class _Metered(io.RawIOBase):
    """Hashes and counts what is read through it."""

    def __init__(self, file: BinaryIO, dataset: Dataset) -> None:
        self._inner = file
        self._dataset = dataset
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self._hash.update(data)
        self._dataset.position += len(data)
        return data

    def finish(self) -> str:
        """Hash what the reader left unread (the tail behind a gzip member), and return the whole file's hash."""
        while data := self._inner.read(BLOCK_BYTES):
            self._hash.update(data)
        return self._hash.hexdigest()


def _floats(cells: Any) -> Any:
    return np.asarray(cells.to_numpy(zero_copy_only=False), dtype=np.float64)


def _coded(cells: Any, *, literal: bool) -> TextColumn:
    coded = cells if hasattr(cells, "indices") else cells.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return TextColumn(codes, tuple(coded.dictionary.to_pylist()), literal)


def _refuse_names(path: Path, columns: tuple[str, ...]) -> None:
    if len(columns) > MAX_FIELDS:
        raise DatasetError(f"{path.name}: {len(columns):,} columns are more than {MAX_FIELDS:,}")
    name, times = max(Counter(columns).items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        raise DatasetError(f"{path.name}: two columns are called '{name}'")


_HINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Expected": "every line must have as many values as the first",
        "invalid UTF8": "save the file as UTF-8",
        "straddling": f"a line is longer than {BLOCK_BYTES // 1024**2} MiB",
    }
)


def _broken(path: Path, error: Exception) -> DatasetError:
    words = " ".join(str(error).split())
    hint = next((help_ for part, help_ in _HINTS.items() if part in words), "")
    return DatasetError(f"{path.name}: {words[:300]}" + (f"; {hint}" if hint else ""))
