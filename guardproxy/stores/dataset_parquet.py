"""A Parquet file as a stream of columns, in memory that does not grow with the file.

Decides which types are numbers and which texts, and which column of a damaged file is named. Needs pyarrow.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from guardproxy.profile.columns import ArrayColumn, Batch, Column, NumberColumn
from guardproxy.stores.dataset_file import CUT, Dataset, DatasetError, Metered, coded, floats, refuse_equal

MAGIC: Final = b"PAR1"
BATCH_ROWS: Final = 65_536


class ParquetDataset(Dataset):
    """An open Parquet file."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        super().__init__(path, file, size)
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{path}: the end of this Parquet file cannot be read; {CUT}") from error
        schema = self._parquet.schema_arrow
        self._readers = {field.name: read for field in schema if (read := _reader_of(field.type)) is not None}
        for field in schema:
            if field.name not in self._readers:
                self.notes.append(
                    f"the column '{field.name}' was left out: {field.type} is neither a single value nor an array of numbers"
                )
        refuse_equal(path, tuple(schema.names))
        self.columns = tuple(self._readers)
        if not self.columns:
            raise DatasetError(f"{path}: no column holds numbers or texts")

    def __iter__(self) -> Iterator[Batch]:
        import pyarrow as pa

        total, done = max(1, self._parquet.metadata.num_rows), 0
        try:
            for batch in self._parquet.iter_batches(batch_size=BATCH_ROWS, columns=list(self.columns)):
                done += batch.num_rows
                self.position = self.size * done // total
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                if batch.num_rows:
                    yield {name: self._readers[name](columns[name]) for name in self.columns}
            self._file.seek(0)
            self.sha256 = Metered(self._file, self).finish()
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{self.path}: {self._damage(done)}; {CUT}") from error

    def _damage(self, done: int) -> str:
        """Say which column cannot be read, and in which rows."""
        import pyarrow as pa

        first = 0
        for group in range(self._parquet.metadata.num_row_groups):
            rows = self._parquet.metadata.row_group(group).num_rows
            last = first + rows
            for name in self.columns if last > done else ():
                try:
                    self._parquet.read_row_group(group, columns=[name])
                except (pa.ArrowException, OSError):
                    return f"rows {first + 1:,} to {last:,}, column '{name}': this cannot be read"
            first = last
        return f"the rows behind row {done:,} cannot be read"


def _reader_of(kind: Any) -> Callable[[Any], Column] | None:
    """Return how cells of a Parquet type are read; None for a type that is not learned."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    def number(cells: Any) -> Column:
        numbers = floats(cells.cast(pa.float64(), safe=False))
        nulls = cells.is_null().to_numpy(zero_copy_only=False) if cells.null_count else None
        return NumberColumn(numbers, nulls)

    def text(cells: Any) -> Column:
        return coded(cells.cast(pa.string()), literal=True)

    def yes_no(cells: Any) -> Column:
        return coded(cells.cast(pa.string()), literal=False)

    def array(cells: Any) -> Column:
        lengths = pc.list_value_length(cells).fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)))
        members = floats(cells.flatten().cast(pa.float64(), safe=False))
        return ArrayColumn(members, ends, cells.is_null().to_numpy(zero_copy_only=False))

    value = kind.value_type if pt.is_dictionary(kind) else kind
    if _is_list(value) and (pt.is_integer(value.value_type) or pt.is_floating(value.value_type)):
        return array
    if pt.is_boolean(value):
        return yes_no
    if pt.is_integer(value) or pt.is_floating(value) or pt.is_decimal(value) or pt.is_null(value):
        return number
    if pt.is_string(value) or pt.is_large_string(value) or pt.is_date(value) or pt.is_timestamp(value):
        return text
    return None


def _is_list(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))
