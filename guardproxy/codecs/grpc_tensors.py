"""The Open Inference Protocol in gRPC: tensors in the protobuf messages ModelInferRequest and ModelInferResponse.

Decides where a tensor's values are: typed in its own `contents` (packed or not), or as bytes in the message's list of raw
contents, never both. Messages that two readers could read differently (a field twice that may be there once, values
of another type than the tensor's) are undecodable. Which columns tensors are is left to `tensors`, raw bytes to `segments`,
writing to `grpc_values`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.grpc_values import TYPED, GrpcPlan, Held, Typed
from guardproxy.codecs.layouts import Values, check_rows
from guardproxy.codecs.names import Names
from guardproxy.codecs.protobuf import (
    LENGTH,
    VARINT,
    Messages,
    Part,
    edited,
    read_few_varints,
    read_varint,
    read_varints,
    varint,
)
from guardproxy.codecs.segments import BLOCK_FROM, NO_TEXT, datatype_of, read_segment
from guardproxy.codecs.signature import MAX_AXES
from guardproxy.codecs.tensor_values import BASE64, CONTENT_TYPE, FRAME, IN_BASE64, NOT_HELD, check_columns
from guardproxy.codecs.tensors import (
    IN_SHARED_MEMORY,
    SHARED_MEMORY,
    Tensor,
    inputs_table,
    outputs_table,
    prediction_fields,
    shape_of,
)
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.message import Message
from guardproxy.table import EXACT_INTEGERS, Table

GRPC: Final = "application/grpc\0"
"""The content type of a gRPC message. No header can say it: a request over HTTP must not choose this container."""

MAX_KEPT_HEADS: Final = 1_024
MAX_KEPT_HEAD: Final = 512
"""How many tensors' heads are remembered, and how long each may be; others are read anew."""

_TOO_MANY_AXES: Final = f"a tensor has more than {MAX_AXES} axes"
_OTHER_TYPE: Final = "a tensor's contents are not of its datatype"
_OTHER_COUNT: Final = "a tensor has more or fewer values than its shape says"


class _Layout(NamedTuple):
    """The numbers of a message's own fields."""

    what: str
    texts: frozenset[int]
    skipped: frozenset[int]
    tensors: int
    raw: int


_REQUEST: Final = _Layout("inputs", frozenset({1, 2, 3}), frozenset({4, 6}), 5, 7)
_RESPONSE: Final = _Layout("outputs", frozenset({1, 2, 3}), frozenset({4}), 5, 6)

_NAME, _DATATYPE, _SHAPE, _PARAMETERS, _CONTENTS = range(1, 6)
"""The numbers of a tensor's fields. A message's own parameters have the same."""

_KEY, _VALUE = 1, 2
"""The numbers of a parameter's fields."""

_TEXT: Final = 3
"""The number of a parameter's value that is text."""

_MARK: Final = CONTENT_TYPE.encode()

_LAST_TYPED: Final = 8
"""The last field of typed contents that the protocol has; those beyond are passed over."""


class GrpcTensors:
    """The container of ModelInfer's messages; implements `Container`."""

    __slots__ = ("_heads", "_names", "_options", "_sizes")

    def __init__(self, options: CodecOptions) -> None:
        self._options = options
        self._heads: dict[bytes, _Head] = {}
        self._sizes: dict[int, int] = {}
        self._names = Names(options)

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request; see `Container`."""
        tensors = self._tensors(message.body, _REQUEST)
        if _MARK in message.body and _is_frame(message.body):
            check_columns(tensors)
        return inputs_table(tensors, self._names, self._options.max_rows, exact=True)

    def decode_response(self, message: Message, rows: int | None) -> Table:
        """Return the predictions of a response; see `Container`."""
        tensors = self._tensors(message.body, _RESPONSE)
        count = tensors[0].rows if rows is None else rows
        check_rows(count, self._options.max_rows)
        return outputs_table(tensors, count, self._options.outputs, exact=True)

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:
        """Return the response with the replaced cells in it; see `Container`."""
        held = self._read(message.body, _RESPONSE)
        fields = prediction_fields([one.tensor for one in held], rows, self._options.outputs)
        edits = GrpcPlan(message.body, held, fields, rows).edits(patch)
        return message._replace(body=edited(message.body, edits)) if edits else message

    def _tensors(self, body: bytes, layout: _Layout) -> list[Tensor]:
        return [held.tensor for held in self._read(body, layout)]

    def _read(self, body: bytes, layout: _Layout) -> list[Held]:
        messages = Messages(body)
        entries: list[Part] = []
        raws: list[Part] = []
        seen: set[int] = set()
        for part in messages.parts(0, len(body)):
            number = part.number
            if number == layout.tensors:
                entries.append(_nested(part))
            elif number == layout.raw:
                raws.append(_nested(part))
            elif number in layout.texts:
                messages.text(_once(part, seen))
            elif number in layout.skipped:
                _nested(part)
        if not entries:
            raise DecodeError(f"the message has no '{layout.what}'")
        if raws and len(raws) != len(entries):
            raise DecodeError("the message has more or fewer raw contents than tensors")
        return [self._tensor(messages, entry, raws[at] if raws else None) for at, entry in enumerate(entries)]

    def _tensor(self, messages: Messages, entry: Part, raw: Part | None) -> Held:
        head, contents = self._known(messages.data, entry, raw) or self._head(messages, entry)
        name, datatype, shape, rows, width = head
        runs = () if contents is None else _runs(messages, contents, datatype)
        if raw is None:
            values = _typed_values(messages.data, datatype, runs, rows * width)
        elif runs:
            raise DecodeError("a tensor has both raw and typed contents")
        else:
            values = read_segment(datatype, messages.data, raw.at, raw.end - raw.at, rows * width)
        tensor = Tensor(name, datatype, shape, rows, width, values, nested=False)
        return Held(tensor, entry, contents, runs, raw)

    def _known(self, data: bytes, entry: Part, raw: Part | None) -> "tuple[_Head, Part | None] | None":
        """Return a tensor's head where the same bytes were read before: most clients send the same heads for ever.

        Beside raw contents a tensor is nothing else; typed contents are expected where tensors of this size had them.
        """
        start, end = entry.at, entry.end
        if raw is not None:
            head = self._heads.get(data[start:end])
            return None if head is None else (head, None)
        at = start + self._sizes.get(end - start, end - start)
        head = self._heads.get(data[start:at])
        if head is None or at == end or data[at] != _CONTENTS << 3 | LENGTH:
            return None
        size, begin = read_varint(data, at + 1, end)
        return (head, Part(_CONTENTS, LENGTH, begin, end, 0)) if begin + size == end else None

    def _head(self, messages: Messages, entry: Part) -> "tuple[_Head, Part | None]":
        head, contents = _read_head(messages, entry, batched=self._options.batch_axis)
        size = entry.end - entry.at
        if contents is not None:
            size = contents.at - len(varint(contents.end - contents.at)) - 1 - entry.at
        if (contents is None or contents.end == entry.end) and size <= MAX_KEPT_HEAD:
            if len(self._heads) < MAX_KEPT_HEADS:
                self._heads[messages.data[entry.at : entry.at + size]] = head
            if len(self._sizes) < MAX_KEPT_HEADS:
                self._sizes[entry.end - entry.at] = size
        return head, contents


def _is_frame(body: bytes) -> bool:
    """Tell whether a request says that it is a data frame."""
    messages = Messages(body)
    return any(
        _parameter(messages, part) == (CONTENT_TYPE, FRAME)
        for part in messages.parts(0, len(body))
        if part.number == _PARAMETERS
    )


def model_of(body: bytes) -> tuple[str, str]:
    """Return the name and the version of the model that a request is for; empty where it says none. Raises DecodeError."""
    messages = Messages(body)
    said = {1: "", 2: ""}
    seen: set[int] = set()
    for part in messages.parts(0, len(body)):
        if part.number in said:
            said[part.number] = messages.text(_once(part, seen))
    return said[1], said[2]


class _Head(NamedTuple):
    """What a tensor says of itself."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    rows: int
    width: int


def _read_head(messages: Messages, entry: Part, *, batched: bool) -> tuple[_Head, Part | None]:
    """Return a tensor's head and where its typed contents stand, if it has any."""
    said = {_NAME: "", _DATATYPE: ""}
    sizes: list[int] = []
    contents: Part | None = None
    parameters: set[tuple[str, str]] = set()
    seen: set[int] = set()
    for part in messages.parts(entry.at, entry.end):
        number = part.number
        if number in said:
            said[number] = messages.text(_once(part, seen))
        elif number == _SHAPE:
            _read_sizes(messages.data, part, sizes)
        elif number == _PARAMETERS:
            parameters.add(_parameter(messages, part))
        elif number == _CONTENTS:
            contents = _nested(_once(part, seen))
    name, datatype = said[_NAME], said[_DATATYPE]
    if not name or not datatype:
        raise DecodeError("a tensor has no name or no datatype")
    datatype_of(datatype)
    if datatype == "BYTES" and (CONTENT_TYPE, BASE64) in parameters:
        raise OpaqueError(IN_BASE64)
    return _Head(name, datatype, tuple(sizes), *shape_of(sizes, batched=batched)), contents


def _read_sizes(data: bytes, part: Part, sizes: list[int]) -> None:
    """Add one size, or a packed field of them. A negative one is left to `shape_of`."""
    if part.wire == VARINT:
        found = [part.value]
    elif part.wire == LENGTH:
        if part.end - part.at > MAX_AXES * 10:
            raise DecodeError(_TOO_MANY_AXES)
        found = read_few_varints(data, part.at, part.end)
    else:
        raise DecodeError("a tensor's shape has another type")
    sizes += (size - 2**64 if size >= 2**63 else size for size in found)
    if len(sizes) > MAX_AXES:
        raise DecodeError(_TOO_MANY_AXES)


def _parameter(messages: Messages, part: Part) -> tuple[str, str]:
    """Return a parameter's name, and its value where that is text. Raises OpaqueError for one that says where data are."""
    _nested(part)
    name = text = ""
    seen: set[int] = set()
    for inner in messages.parts(part.at, part.end):
        if inner.number == _KEY:
            name = messages.text(_once(inner, seen))
        elif inner.number == _VALUE:
            value = _nested(_once(inner, seen))
            for choice in messages.parts(value.at, value.end):
                text = messages.text(choice) if choice.number == _TEXT else ""
    if name == SHARED_MEMORY:
        raise OpaqueError(IN_SHARED_MEMORY)
    return name, text


def _runs(messages: Messages, contents: Part, datatype: str) -> tuple[Part, ...]:
    """Return the fields of typed contents that hold the values: single values, or packed ones."""
    typed = TYPED.get(datatype)
    runs: list[Part] = []
    for part in messages.parts(contents.at, contents.end):
        if part.number > _LAST_TYPED:
            continue
        if typed is None or part.number != typed.number or part.wire not in {typed.wire, LENGTH}:
            raise DecodeError(_OTHER_TYPE)
        runs.append(part)
    return tuple(runs)


def _typed_values(data: bytes, datatype: str, runs: Sequence[Part], count: int) -> Values:
    """Return the values of typed contents. Raises DecodeError unless there are `count`."""
    typed = TYPED.get(datatype)
    if typed is None:
        if count:
            raise DecodeError(_OTHER_TYPE)
        return []
    if typed.wire == LENGTH:
        if len(runs) != count:
            raise DecodeError(_OTHER_COUNT)
        return _texts(data, runs)
    # Packed or not, the values' own bytes are the same.
    if len(runs) == 1:
        start, end = runs[0].at, runs[0].end
    else:
        data = b"".join([data[run.at : run.end] for run in runs])
        start, end = 0, len(data)
    if typed.wire == VARINT:
        return _whole_values(data, start, end, typed, count)
    return read_segment(datatype, data, start, end - start, count)


def _texts(data: bytes, runs: Sequence[Part]) -> list[str]:
    try:
        return [data[run.at : run.end].decode() for run in runs]
    except UnicodeDecodeError:
        raise OpaqueError(NO_TEXT) from None


def _whole_values(data: bytes, start: int, end: int, typed: Typed, count: int) -> Values:
    if count < BLOCK_FROM:
        few = read_few_varints(data, start, min(end, start + BLOCK_FROM * 10))
        if len(few) != count:
            raise DecodeError(_OTHER_COUNT)
        listed = [one - 2**64 if one >= 2**63 else one for one in few] if typed.low < 0 else few
        _check_whole(min(listed, default=0), max(listed, default=0), typed)
        return list(map(bool, listed)) if typed.high == 1 else listed
    unsigned = read_varints(data, start, end, count)
    values = unsigned.view(np.int64) if typed.low < 0 else unsigned
    low, high = int(values.min()), int(values.max())
    _check_whole(low, high, typed)
    if typed.high == 1:
        return list(map(bool, values.tolist()))
    if low > -EXACT_INTEGERS and high < EXACT_INTEGERS:
        return values.astype(np.float64)
    many: list[int] = values.tolist()
    return many


def _check_whole(low: int, high: int, typed: Typed) -> None:
    if low < typed.low or high > typed.high:
        raise DecodeError(NOT_HELD)


def _nested(part: Part) -> Part:
    if part.wire != LENGTH:
        raise DecodeError("a field of the message has another type than the protocol's")
    return part


def _once(part: Part, seen: set[int]) -> Part:
    if part.number in seen:
        raise DecodeError("the message has a field twice that may be there once")
    seen.add(part.number)
    return part
