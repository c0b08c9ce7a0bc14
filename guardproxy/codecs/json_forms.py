"""Rows in JSON documents, found by the forms of a preset.

Decides what of a document its form's pointers lead to. Which form it has is left to `forms`, what the rows look like to
`layouts` and `predictions` (the rarer ones to `request_rows`, `ranked`, `flat`), what is picked out of them to `picks`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.cells import SCALARS
from guardproxy.codecs.flat import flat_fields, flat_rows
from guardproxy.codecs.forms import Forms, ReadForm
from guardproxy.codecs.json_container import JsonContainer, plain_numbers
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.json_text import Doubled, JsonReader, NeedsExactError, as_object
from guardproxy.codecs.layouts import (
    Namer,
    check_rows,
    column_table,
    columns_of,
    columns_table,
    distinct,
    rows_table,
)
from guardproxy.codecs.pointers import Pointer, find, spelled, step_into
from guardproxy.codecs.predictions import Field, count_rows, misaligned, named_fields, response_fields
from guardproxy.codecs.preset import Form, Layout
from guardproxy.codecs.ranked import is_ranked, ranked_fields
from guardproxy.codecs.request_rows import (
    arguments,
    check_even,
    check_others,
    check_shared,
    joined,
    listed_rows,
)
from guardproxy.codecs.tensors import shape_of
from guardproxy.errors import DecodeError, OpaqueError, UnalignedError
from guardproxy.table import Table

_REQUEST: Final = "the request"
_RESPONSE: Final = "the response"

MAX_TIMES: Final = 1024
"""Far more answers to one question than any server gives."""


class _Located(NamedTuple):
    """A form's rows, the path to them, the number of keys beside the way, and the form."""

    value: Any
    path: Path
    keys: int
    form: ReadForm


class JsonForms(JsonContainer):
    """JSON documents in which a preset's forms say where the rows are."""

    def __init__(
        self,
        options: CodecOptions,
        requests: Sequence[Form],
        responses: Sequence[Form],
        *,
        missing: str = "null",
        foreign: bytes = b"",
        reader: JsonReader | None = None,
    ) -> None:
        """Take the forms of a preset. Raises ValueError for a pointer that is none."""
        super().__init__(options, missing=missing, foreign=foreign, reader=reader)
        self._requests = Forms(requests, _REQUEST)
        self._responses = Forms(responses, _RESPONSE)

    def _request(self, value: Any, exact: bool) -> tuple[Table, int]:
        rows, _, keys, form = self._locate(self._requests, value)
        if form.rich:
            return self._rich_request(value, rows, form, exact=exact), self._reader.survey(value, 0)
        layout = form.layout
        if layout is Layout.RECORDS and not _all_of(rows, dict):
            raise DecodeError(f"{form.spelled} is not an array of objects")
        if layout is Layout.MATRIX and not _is_matrix(rows):
            raise DecodeError(f"the rows of {form.spelled} are not all arrays")
        if layout is Layout.ARGUMENTS:
            table, inner = self._arguments_table(value, rows, form, exact=exact)
            return table, keys + inner
        if layout is not Layout.ANY:
            rows = listed_rows(rows, layout)
        if form.unwrap and _is_wrapped(rows, form.unwrap):
            keys += len(rows)
            rows = [row[form.unwrap] for row in rows]
        table, inner = self._rows_table(value, rows, form, exact=exact)
        # Each record has at most all of the fields: as many keys as cells are a key in each.
        if form.uniform and inner and type(rows) is list and inner != table.rows * len(table.fields):
            raise DecodeError(f"the records of {form.spelled} do not all have the same keys")
        if form.even and table.exact and type(rows) is list:
            check_even(rows, table.exact)
        return table, keys + inner

    def _arguments_table(self, root: Any, located: Any, form: ReadForm, *, exact: bool) -> tuple[Table, int]:
        """Return the table of named arguments and the number of keys in them."""
        rows, shared, name, others = arguments(located)
        if name is not None:
            beside = self._reader.others(located, name, depth=len(form.rows) + 1)
        else:
            beside = len(shared)
        table, inner = self._rows_table(root, rows, form, exact=exact)
        check_others(others, table.fields)
        if shared and not table.rows:
            # A server that does not know the empty argument still answers for the values beside it.
            raise DecodeError("the request has values that belong to every row, and no row")
        return joined(table, shared, exact=exact), beside + inner

    def _rows_table(self, root: Any, rows: Any, form: ReadForm, *, exact: bool) -> tuple[Table, int]:
        """Return the table of rows or, of an object, columns, and the number of keys in it."""
        if isinstance(rows, dict):
            return columns_of(as_object(rows, "the columns"), self._options.max_rows, exact=exact)
        return rows_table(rows, self._namer(form, root), self._options.max_rows, exact=exact)

    def _rich_request(self, root: Any, rows: Any, form: ReadForm, *, exact: bool) -> Table:
        """Return the table of a form that says more than where its rows are."""
        shared = {pick.name: pick.value(root) for pick in form.shared}
        if form.shape is not None:
            rows = self._reshaped(root, rows, form.shape)
        else:
            rows = listed_rows(rows, form.layout)
        if form.context is not None:
            rows = self._with_context(root, rows, form.context)
        if form.fields:
            return self._picked(root, rows, form, shared, exact=exact)
        return joined(self._rows_table(root, rows, form, exact=exact)[0], shared, exact=exact)

    def _picked(self, root: Any, rows: Any, form: ReadForm, shared: dict[str, Any], *, exact: bool) -> Table:
        listed = _array_of(rows, form)
        times = 1 if form.repeat is None else _times(root, form.repeat)
        check_rows(len(listed) * times, self._options.max_rows)
        columns: dict[str, list[Any]] = {}
        for pick in form.fields:
            values = [pick.value(row) for row in listed]
            columns[pick.name] = values if times == 1 else [value for value in values for _ in range(times)]
        count = len(listed) * times
        check_shared(len(shared), count)
        columns.update((name, [value] * count) for name, value in shared.items())
        return columns_table(list(columns.items()), count, exact=exact)

    def _with_context(self, root: Any, rows: Any, pointer: Pointer) -> Any:
        """Return rows with the members of an object that belongs to each of them."""
        found = find(root, pointer)
        if found is None or found.value is None:
            return rows
        context = as_object(found.value, "the context")
        if not context or type(rows) is not list or not {dict}.issuperset(map(type, rows)):
            return rows
        if any(not context.keys().isdisjoint(row) for row in rows):
            raise DecodeError("a row has a field that stands in the context too")
        check_rows(len(rows), self._options.max_rows)
        check_shared(len(context), len(rows))
        return [{**row, **context} for row in rows]

    def _reshaped(self, root: Any, values: Any, pointer: Pointer) -> Any:
        own, width = self._shape(root, values, pointer)
        check_rows(own, self._options.max_rows)
        return flat_rows(values, own, width)

    def _shape(self, root: Any, values: Any, pointer: Pointer) -> tuple[int, int]:
        """Return the rows and the values per row of flat values. Raises DecodeError unless they are as many."""
        found = find(root, pointer)
        sizes = None if found is None else found.value
        if type(sizes) is not list or not {int}.issuperset(map(type, sizes)):
            raise DecodeError("the values have no shape that is an array of sizes")
        own, width = shape_of(sizes)
        if isinstance(values, np.ndarray):
            flat = values.ndim == 1
        else:
            flat = type(values) is list and SCALARS.issuperset(map(type, values))
        if not flat or len(values) != own * width or not width:
            raise DecodeError("the values do not have their shape")
        return own, width

    def _response(self, rows: int | None, value: Any, exact: bool) -> tuple[Table, int]:
        located, path, keys, form = self._locate(self._responses, value)
        if rows is None:
            rows = self._own_rows(located, form, value)
        if form.rich:
            fields = self._rich_fields(located, path, form, value, rows)
            keys = self._reader.survey(value, 0)
        else:
            if isinstance(located, (list, np.ndarray)) and len(located) == rows and form.columns is None:
                block = plain_numbers(located)
                if block is not None:
                    return column_table(self._names.single, block), keys
            fields, inner = _sniffed(located, form, rows)
            keys += inner
        named = self._renamed(fields, form, value)
        return columns_table([field[:2] for field in named], rows, exact=exact), keys

    def _fields(self, value: Any, rows: int) -> tuple[list[Field], Path]:
        located, path, _, form = self._locate(self._responses, value)
        if form.rich:
            fields, path = self._rich_fields(located, path, form, value, rows), ()
        else:
            fields = _sniffed(located, form, rows)[0]
        return self._renamed(fields, form, value), path

    def _own_rows(self, located: Any, form: ReadForm, root: Any) -> int:
        return count_rows(located) if form.shape is None else self._shape(root, located, form.shape)[0]

    def _rich_fields(self, located: Any, path: Path, form: ReadForm, root: Any, rows: int) -> list[Field]:
        """Return the prediction fields of a form that says more than where its rows are; their leaves begin at the root."""
        if form.fields:
            alone = isinstance(located, dict)
            listed = [located] if alone else _array_of(located, form)
            if len(listed) != rows:
                raise misaligned(len(listed), rows)
            if form.position is not None:
                _check_positions(listed, form.position)
            paths = [path] if alone else [(*path, at) for at in range(rows)]
            fields = [field for pick in form.fields for field in pick.fields(listed, paths)]
            if not fields:
                raise DecodeError("no row of the response has a field of its form")
        else:
            if form.shape is not None:
                fields = flat_fields(located, *self._shape(root, located, form.shape), rows)
            else:
                fields = _sniffed(located, form, rows)[0]
            fields = [_below(field, path) for field in fields]
        return fields + [field for pick in form.shared for field in pick.shared(root, rows)]

    def _renamed(self, fields: list[Field], form: ReadForm, root: Any) -> list[Field]:
        return named_fields(fields, self._names.outputs or self._column_names(form, root) or ())

    def _namer(self, form: ReadForm, root: Any) -> Namer:
        names = self._column_names(form, root)
        if names is None:
            return self._names.features
        if form.positional:
            self._names.check_places(names)
        return _fixed(names)

    def _column_names(self, form: ReadForm, root: Any) -> tuple[str, ...] | None:
        """Return the names that a message has for its columns; None when it has none."""
        if form.columns is None:
            return None
        found = find(root, form.columns)
        if found is None:
            return None
        if type(found.value) is not list:
            raise DecodeError("the columns' names are not in an array")
        return distinct(found.value, "the columns' names") or None

    def _locate(self, forms: Forms, root: Any) -> _Located:
        form = forms.of(root)
        member = form.member
        if member is not None and type(root) is dict and member in root:
            keys = 1 if len(root) == 1 else self._reader.others(root, member)
            return _Located(root[member], form.rows, keys, form)
        if form.opaque:
            raise OpaqueError(form.opaque)
        value, path, keys = self._follow(root, form.rows)
        if form.array and not isinstance(value, (list, np.ndarray)):
            raise DecodeError(f"{form.spelled or forms.what} is not an array")
        return _Located(value, path, keys, form)

    def _follow(self, value: Any, pointer: Pointer) -> tuple[Any, Path, int]:
        """Return the value a pointer leads to, its path, and the number of keys beside the way."""
        path: list[str | int] = []
        keys = 0
        for depth, token in enumerate(pointer, 1):
            step: str | int = token
            if isinstance(value, np.ndarray):
                raise NeedsExactError
            if type(value) is list:
                step = step_into(value, token)
                keys += sum(self._reader.survey(item, depth) for at, item in enumerate(value) if at != step)
            else:
                members = as_object(value, "the document" if depth == 1 else "a value on the way to the rows")
                if token not in members:
                    raise DecodeError(f"there is nothing at the pointer '{spelled(pointer[:depth])}'")
                keys += self._reader.others(members, str(token), depth=depth)
            value = value[step]
            path.append(step)
        return value, tuple(path), keys


def _sniffed(located: Any, form: ReadForm, rows: int) -> tuple[list[Field], int]:
    """Return the prediction fields of what stands where a response's rows are, and the number of keys in it."""
    if form.layout is Layout.RANKED and is_ranked(located):
        return ranked_fields(located, rows), 0
    return response_fields(located, rows)


def _below(field: Field, path: Path) -> Field:
    """Return a field whose leaves begin at the root, where the rows stand at `path`."""
    leaves: Callable[[int], list[Path]] = field.leaves
    return field._replace(leaves=lambda row: [(*path, *leaf) for leaf in leaves(row)])


def _is_wrapped(rows: Any, name: str) -> bool:
    """Tell whether every row is an object with the one member `name`."""
    return (
        type(rows) is list
        and bool(rows)
        and all(type(row) is dict and len(row) == 1 and name in row for row in rows)
    )


def _array_of(rows: Any, form: ReadForm) -> list[Any]:
    """Return rows that fields are picked from. Raises DecodeError unless they are an array."""
    if isinstance(rows, np.ndarray):
        listed: list[Any] = rows.tolist()
        return listed
    if type(rows) is not list:
        raise DecodeError(f"{form.spelled or 'what holds the rows'} is not an array")
    if Doubled in set(map(type, rows)):
        raise DecodeError("a row has the same key twice")
    return rows


def _times(root: Any, pointer: Pointer) -> int:
    """Return how many rows each row stands for. Raises DecodeError unless it is a whole number within bounds."""
    found = find(root, pointer)
    if found is None or found.value is None:
        return 1
    if type(found.value) is not int or not 0 < found.value <= MAX_TIMES:
        raise DecodeError(f"'{spelled(pointer)[1:]}' is not a whole number from 1 to {MAX_TIMES}")
    return found.value


def _check_positions(rows: Sequence[Any], pointer: Pointer) -> None:
    """Raise UnalignedError when a row says that its place is another."""
    for at, row in enumerate(rows):
        found = find(row, pointer)
        if found is not None and (type(found.value) is not int or found.value != at):
            raise UnalignedError("the predictions are not in the order of their numbers")


def _all_of(rows: Any, kind: type) -> bool:
    return type(rows) is list and all(isinstance(row, kind) for row in rows)


def _is_matrix(rows: Any) -> bool:
    if isinstance(rows, np.ndarray):
        return rows.ndim > 1
    return type(rows) is list and {list}.issuperset(map(type, rows))


def _fixed(columns: tuple[str, ...]) -> Namer:
    def names(width: int) -> tuple[str, ...]:
        if width not in {0, len(columns)}:
            raise DecodeError(f"the rows have {width} values for {len(columns)} columns")
        return columns

    return names
