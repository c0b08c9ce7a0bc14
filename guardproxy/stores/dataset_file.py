"""One file of reference data: what every kind of file has in common.

Decides what is known of a file before its rows are read, what its hash covers and which column names are refused. How a
kind of file becomes columns is left to `dataset_csv` and `dataset_parquet`.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, Self

import numpy as np

from guardproxy.errors import Fault, GuardproxyError
from guardproxy.profile.columns import Batch, TextColumn
from guardproxy.profile.learn import MAX_FIELDS
from guardproxy.source import did_you_mean
from guardproxy.table import Floats

BLOCK_BYTES: Final = 4 * 1024 * 1024
CUT: Final = "the file is cut short or damaged: copy or write it again"


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

    def select(self, skip: tuple[str, ...] = ()) -> None:
        """Leave out these columns. Raises DatasetError for a name that is none, and when too many are left."""
        for name in skip:
            self.require(name)
        left_out = frozenset(skip)
        self.columns = tuple(name for name in self.columns if name not in left_out)
        if len(self.columns) > MAX_FIELDS:
            raise DatasetError(
                f"{self.path}: {len(self.columns):,} columns are more than {MAX_FIELDS:,}; leave out with --skip "
                "what no request carries, or write a file of fewer columns"
            )

    def require(self, name: str) -> None:
        """Raise DatasetError when there is no column of this name."""
        if name not in self.columns:
            help_ = did_you_mean(name, self.columns)
            raise DatasetError(f"{self.path}: no column '{name}'" + (f"; {help_}" if help_ else ""))

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches of rows. Raises DatasetError when the file breaks on the way."""
        raise NotImplementedError


class Metered(io.RawIOBase):
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


def floats(cells: Any) -> Floats:
    """Return Arrow's numbers as float64, NaN where missing."""
    return np.asarray(cells.to_numpy(zero_copy_only=False), dtype=np.float64)


def coded(cells: Any, *, literal: bool) -> TextColumn:
    """Return Arrow's texts as codes of their different values."""
    found = cells if hasattr(cells, "indices") else cells.dictionary_encode()
    codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return TextColumn(codes, tuple(found.dictionary.to_pylist()), literal)


def refuse_equal(path: Path, columns: tuple[str, ...]) -> None:
    """Raise DatasetError when two columns have the same name."""
    name, times = max(Counter(columns).items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        places = [number for number, column in enumerate(columns, start=1) if column == name][:2]
        raise DatasetError(
            f"{path}: two columns are called '{name}', numbers {places[0]:,} and {places[1]:,}; rename one"
        )
