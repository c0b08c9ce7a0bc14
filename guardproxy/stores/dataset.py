"""Reference data on disk: files of CSV and Parquet, read one after the other as one stream of columns.

Decides that files are read in the order given, that all have the same columns before any row is read, and what stands for
several files where one would be named. What is learned of the columns is left to `profile`. Needs pyarrow (the extra
`learn`).
"""

import hashlib
import importlib.util
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from guardproxy.profile.columns import Batch
from guardproxy.stores.dataset_csv import GZIP, CsvDataset
from guardproxy.stores.dataset_file import Dataset, DatasetError
from guardproxy.stores.dataset_parquet import MAGIC, ParquetDataset
from guardproxy.stores.oddities import Oddities

__all__ = ["MAX_FILES", "Dataset", "DatasetError", "Datasets", "open_dataset"]

MAX_FILES: Final = 10_000
MAX_NAMED: Final = 20
"""Files that a profile names as what it was learned from."""

MAX_NOTES: Final = 20
_SHOWN: Final = 5


class Datasets:
    """Files of rows with the same columns. Iterate once, in the order given.

    `columns` are the names in the order of the first file, `size` the bytes of all files and `position` how many of them are
    done; when all are read, `sha256` stands for their contents: of one file its hash, of several the hash of the lines that
    `sha256sum` prints for them by their bare names. `notes` says what was left out and what looks odd.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Look at every file's columns. Raises DatasetError, also where two files differ in them."""
        if len(paths) > MAX_FILES:
            raise DatasetError(
                f"{len(paths):,} files are more than {MAX_FILES:,}; learn parts and merge them"
            )
        self.paths = tuple(paths)
        self.columns: tuple[str, ...] = ()
        self.size = 0
        self.position = 0
        self.sha256 = ""
        self.left_out: list[str] = []
        self._skip: tuple[str, ...] = ()
        self._odd = Oddities()
        self._refuse_twice()
        for path in self.paths:
            with open_dataset(path) as file:
                self._compare(path, file)

    @property
    def name(self) -> str:
        """The bare names of the files, the first MAX_NAMED of them."""
        return names_of(path.name for path in self.paths)

    @property
    def notes(self) -> list[str]:
        """What a person should know of the files, at most MAX_NOTES sentences and how many more there were."""
        found = list(dict.fromkeys([*self.left_out, *self._odd.sentences()]))
        more = len(found) - MAX_NOTES
        return found if more <= 0 else [*found[:MAX_NOTES], f"and {more:,} notes of the same kinds"]

    def select(self, skip: tuple[str, ...]) -> None:
        """Leave out these columns. Raises DatasetError for a name that is none."""
        with open_dataset(self.paths[0]) as file:
            file.select(skip)
            self.columns = file.columns
        self._skip = skip

    def require(self, name: str) -> None:
        """Raise DatasetError when there is no column of this name."""
        with open_dataset(self.paths[0]) as file:
            file.require(name)

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches of rows. Raises DatasetError when a file breaks on the way."""
        done, hashes = 0, []
        for path in self.paths:
            with open_dataset(path) as file:
                file.select(self._skip)
                if frozenset(file.columns) != frozenset(self.columns):
                    raise DatasetError(f"{path}: the columns changed while the files were read; learn again")
                rows = 0
                for batch in file:
                    self.position = done + min(file.position, file.size)
                    columns = {name: batch[name] for name in self.columns}
                    rows += self._odd.look(path, rows, columns)
                    yield columns
                hashes.append(f"{file.sha256}  {path.name}\n")
                done += file.size
        self.sha256 = hashes[0][:64] if len(hashes) == 1 else _hash(hashes)

    def _refuse_twice(self) -> None:
        seen: dict[Path, Path] = {}
        for path in self.paths:
            before = seen.setdefault(path.resolve(), path)
            if before is not path:
                raise DatasetError(f"{path}: this file is given twice; its rows would count twice")

    def _compare(self, path: Path, file: Dataset) -> None:
        self.size += file.size
        several = f"{path}: " if len(self.paths) > 1 else ""
        self.left_out += [several + note for note in file.notes]
        if not self.columns:
            self.columns = file.columns
        elif frozenset(file.columns) != frozenset(self.columns):
            first = self.paths[0]
            only = _only(f"only in {first}", set(self.columns) - set(file.columns))
            other = _only(f"only in {path}", set(file.columns) - set(self.columns))
            said = "; ".join(part for part in (only, other) if part)
            raise DatasetError(f"{first} and {path} have different columns: {said}")


def open_dataset(path: Path) -> Dataset:
    """Open a CSV (plain or in gzip) or Parquet file and read its column names.

    Raises DatasetError when it is missing, empty, unreadable, has no named or two equal columns, or pyarrow is absent.
    """
    if sys.modules.get("pyarrow", ...) is None or importlib.util.find_spec("pyarrow") is None:
        raise DatasetError('reading data needs pyarrow: pip install "guardproxy[learn]"')
    try:
        # Opening a pipe would wait for somebody to write into it.
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            raise DatasetError(f"{path}: this is a directory; name the files in it, such as {path}/*.parquet")
        if not stat.S_ISREG(state.st_mode):
            raise DatasetError(f"{path}: this is no regular file; write the data to one")
        file = path.open("rb")
    except FileNotFoundError:
        raise DatasetError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DatasetError(f"{path}: {reason or 'cannot be opened'}") from error
    try:
        return _opened(path, file, state.st_size)
    except BaseException:
        file.close()
        raise


def names_of(names: Iterable[str]) -> str:
    """Return the first MAX_NAMED names as a text, and how many more there are."""
    listed = list(names)
    more = len(listed) - MAX_NAMED
    return ", ".join(listed[:MAX_NAMED]) + (f", and {more:,} more" if more > 0 else "")


def _opened(path: Path, file: BinaryIO, size: int) -> Dataset:
    magic = file.read(len(MAGIC))
    file.seek(0)
    if not magic:
        raise DatasetError(f"{path}: the file is empty")
    if magic == MAGIC:
        return ParquetDataset(path, file, size)
    return CsvDataset(path, file, size, packed=magic.startswith(GZIP) or path.name.endswith(".gz"))


def _only(where: str, names: set[str]) -> str:
    if not names:
        return ""
    listed = sorted(names)
    more = len(listed) - _SHOWN
    shown = ", ".join(f"'{name}'" for name in listed[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    return f"{shown} {where}"


def _hash(lines: list[str]) -> str:
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
