"""The binary tensor extension of V2 over HTTP: a JSON head, and the tensors' bytes behind it.

Decides how the bytes behind the head are dealt out, and how a patch is written into them: cells of fixed width in place; a
segment of text is built again, and its size in the head made right. What a head says of its tensors is left to
`open_inference`, what their bytes mean to `segments`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from guardproxy.codecs.base import CodecOptions
from guardproxy.codecs.json_container import JsonPlan, style_of
from guardproxy.codecs.json_spans import Path, replace_values
from guardproxy.codecs.json_text import strict_text
from guardproxy.codecs.patching import plain, write_once
from guardproxy.codecs.predictions import Field
from guardproxy.codecs.segments import (
    NO_TEXT,
    bytes_segment,
    cell_bytes,
    datatype_of,
    read_segment,
    text_bytes,
)
from guardproxy.codecs.tensors import Tensor, shape_of
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.message import Message

BINARY_SIZE: Final = "binary_data_size"


class Tail:
    """The bytes behind the JSON of a message, dealt out to its tensors in their order. None may have more rows than
    `max_rows`."""

    __slots__ = ("_at", "body", "max_rows")

    def __init__(self, message: Message, max_rows: int) -> None:
        self.body = message.body
        self.max_rows = max_rows
        self._at = message.json_length or 0

    def take(self, size: int) -> int:
        """Return where the next `size` bytes begin. Raises DecodeError when there are not as many."""
        start = self._at
        if size > len(self.body) - start:
            raise DecodeError("the tensors' sizes are more than the bytes behind the JSON")
        self._at = start + size
        return start

    def finish(self) -> None:
        """Raise DecodeError when bytes are left that no tensor took."""
        if self._at != len(self.body):
            raise DecodeError("the tensors' sizes are less than the bytes behind the JSON")


def head_of(message: Message) -> bytes:
    """Return the JSON of a message whose header tells its length. Raises DecodeError when it cannot be that long."""
    length = message.json_length
    if length is None or not 0 <= length <= len(message.body):
        raise DecodeError("the length of the body's JSON is no number of bytes that the body has")
    return message.body[:length]


def raw_tensor(body: bytes, options: CodecOptions) -> Tensor:
    """Return the only input of a request that has no JSON at all; its type and width are the signature's.

    Raises OpaqueError when the signature does not tell them, DecodeError when the body has no whole number of rows.
    """
    inputs = () if options.signature is None else options.signature.inputs
    if len(inputs) != 1 or not inputs[0].width:
        raise OpaqueError("the request is the bytes of one tensor, and no signature tells its type and width")
    name, datatype, width = inputs[0].name, inputs[0].datatype, inputs[0].width
    each = datatype_of(datatype).size * width
    if not each:
        return _raw_text(name, body)
    rows, rest = divmod(len(body), each)
    if rest or not rows:
        raise DecodeError("the request's bytes are no whole number of rows")
    shape = (rows, width)
    values = read_segment(datatype, body, 0, len(body), rows * width)
    return Tensor(name, datatype, shape, *shape_of(shape, batched=options.batch_axis), values, nested=False)


def _raw_text(name: str, body: bytes) -> Tensor:
    """A raw body of BYTES is one element, without its length."""
    try:
        return Tensor(name, "BYTES", (1,), 1, 1, [body.decode("utf-8")], nested=False)
    except UnicodeDecodeError:
        raise OpaqueError(NO_TEXT) from None


class BinaryPlan(JsonPlan):
    """Turns replacements into new bytes of a binary message. Its tensors in JSON are patched as text."""

    def __init__(
        self,
        message: Message,
        root: Any,
        tensors: Sequence[Tensor],
        fields: Sequence[Field],
        rows: int,
        missing: str,
    ) -> None:
        head = message.body[: message.json_length]
        super().__init__(
            root,
            ("outputs",),
            fields,
            rows,
            lambda: style_of(head, (tensor.data for tensor in tensors if tensor.start < 0), missing),
        )
        self._message = message
        self._head = head
        self._tensors = tensors
        self._cells: dict[int, bytes] = {}
        self._elements: dict[int, dict[int, bytes]] = {}

    def spliced(self, patch: Sequence[Replacement]) -> Message:
        """Return the message with the patch in it, the same one when nothing changes. Raises PatchError."""
        texts = dict(self.texts(patch))
        if not (texts or self._elements or self._cells):
            return self._message
        body = overwritten(self._message.body, self._cells)
        if not (texts or self._elements):
            return self._message._replace(body=body)
        tail = self._tail(body, texts)
        head = self._head
        if texts:
            head = replace_values(strict_text(head), texts).encode("utf-8")
        return self._message._replace(body=b"".join((head, *tail)), json_length=len(head))

    def _tail(self, body: bytes, texts: dict[Path, str]) -> list[bytes]:
        """Return the segments in their order, and put the new sizes of those that have one into `texts`."""
        segments: list[bytes] = []
        for position, tensor in enumerate(self._tensors):
            if tensor.start < 0:
                continue
            segment = body[tensor.start : tensor.start + tensor.size]
            elements = self._elements.get(position)
            if elements:
                segment = bytes_segment(body, tensor.start, tensor.size, len(tensor.data), elements)
                if len(segment) != tensor.size:
                    texts["outputs", position, "parameters", BINARY_SIZE] = str(len(segment))
            segments.append(segment)
        return segments

    def _old(self, path: Path) -> Any:
        tensor = self._tensors[_position(path)]
        return super()._old(path) if tensor.start < 0 else plain(tensor.data[_index(path)])

    def _write(self, path: Path, new: Any, old: Any, field: Field) -> None:
        position = _position(path)
        tensor = self._tensors[position]
        if tensor.start < 0:
            super()._write(path, new, old, field)
            return
        index = _index(path)
        size = datatype_of(tensor.datatype).size
        if not size:
            element = text_bytes(new, old)
            if element is not None:
                write_once(self._elements.setdefault(position, {}), index, element)
            return
        cell = cell_bytes(tensor.datatype, new, old)
        at = tensor.start + index * size
        if cell is not None and self._message.body[at : at + size] != cell:
            write_once(self._cells, at, cell)


def _position(path: Path) -> int:
    """Return which tensor a path from the root leads to."""
    return int(path[1])


def _index(path: Path) -> int:
    """Return which of its tensor's binary values a path from the root leads to."""
    return int(path[3])


def overwritten(body: bytes, cells: Mapping[int, bytes]) -> bytes:
    """Return a body with some of its bytes replaced by as many others, by where they begin."""
    if not cells:
        return body
    made = bytearray(body)
    for at, new in cells.items():
        made[at : at + len(new)] = new
    return bytes(made)
