"""Where the values of a gRPC tensor stand in its message, and how new ones are written there.

Decides by datatype: numbers of fixed width and those in raw contents are overwritten in place; a varint or a text may get
longer, and then every length around it is made right. What a message holds is left to `grpc_tensors`.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.codecs.cells import WHOLE_RANGES, is_same
from guardproxy.codecs.json_spans import Path
from guardproxy.codecs.patching import Plan, plain
from guardproxy.codecs.predictions import Field
from guardproxy.codecs.protobuf import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Edit,
    Frame,
    Part,
    varint,
    varint_starts,
)
from guardproxy.codecs.segments import bytes_segment, cell_bytes, text_bytes
from guardproxy.codecs.tensors import Tensor
from guardproxy.decision import Replacement


class Typed(NamedTuple):
    """The field of typed contents that a datatype uses, its wire type, and the least and the largest value."""

    number: int
    wire: int
    low: int = 0
    high: int = 0


TYPED: Final[Mapping[str, Typed]] = MappingProxyType(
    {
        "BOOL": Typed(1, VARINT, 0, 1),
        **{
            name: Typed(number, VARINT, *WHOLE_RANGES[name])
            for number, names in (
                (2, ("INT8", "INT16", "INT32")),
                (3, ("INT64",)),
                (4, ("UINT8", "UINT16", "UINT32")),
                (5, ("UINT64",)),
            )
            for name in names
        },
        "FP32": Typed(6, FIXED32),
        "FP64": Typed(7, FIXED64),
        "BYTES": Typed(8, LENGTH),
    }
)


class Held(NamedTuple):
    """Where a tensor's values stand: in `raw`, else in the fields `runs` of the tensor's contents."""

    tensor: Tensor
    entry: Part
    contents: Part | None = None
    runs: Sequence[Part] = ()
    raw: Part | None = None


class GrpcPlan(Plan):
    """Turns replacements into edits of a response's bytes."""

    def __init__(self, body: bytes, held: Sequence[Held], fields: Sequence[Field], rows: int) -> None:
        super().__init__(fields, rows)
        self._body = body
        self._held = held
        self._cells: dict[tuple[int, int], Edit] = {}
        self._texts: dict[int, dict[int, bytes]] = {}
        """New elements of raw BYTES, by tensor and index."""
        self._ends: dict[int, list[int]] = {}
        self._bounds: dict[int, NDArray[np.int64]] = {}

    def edits(self, patch: Sequence[Replacement]) -> list[Edit]:
        """Return all that a patch changes in the body. Raises PatchError."""
        self.take(patch)
        made = [edit for edit in self._cells.values() if self._body[edit.start : edit.end] != edit.new]
        for position, replaced in self._texts.items():
            held = self._held[position]
            if held.raw is not None:
                start, end = held.raw.at, held.raw.end
                count = len(held.tensor.data)
                segment = bytes_segment(self._body, start, end - start, count, replaced)
                made.append(Edit(start, end, segment, Frame(start, end)))
        return made

    def _old(self, path: Path) -> Any:
        return plain(self._held[int(path[0])].tensor.data[int(path[-1])])

    def _write(self, path: Path, new: Any, old: Any, field: Field) -> None:  # noqa: ARG002 (the tensor tells more)
        if is_same(old, new):
            return
        position, index = int(path[0]), int(path[-1])
        datatype = self._held[position].tensor.datatype
        if datatype == "BYTES":
            text = text_bytes(new, old)
            if text is not None:
                self._write_text(position, index, text)
            return
        packed = cell_bytes(datatype, new, old)
        if packed is not None:
            self._cells[position, index] = self._number(position, index, packed)

    def _number(self, position: int, index: int, packed: bytes) -> Edit:
        """Return the edit that writes a number or a yes/no; `packed` is what it is in raw contents."""
        held = self._held[position]
        if held.raw is not None:
            at = held.raw.at + index * len(packed)
            return Edit(at, at + len(packed), packed)
        typed = TYPED[held.tensor.datatype]
        if typed.wire == VARINT:
            start, end, frame = self._span(position, index, 0)
            number = int.from_bytes(packed, "little", signed=typed.low < 0)
            return Edit(start, end, varint(number % 2**64), frame)
        start, end, frame = self._span(position, index, len(packed))
        return Edit(start, end, packed, frame)

    def _write_text(self, position: int, index: int, new: bytes) -> None:
        held = self._held[position]
        if held.raw is not None:
            self._texts.setdefault(position, {})[index] = new
            return
        run = held.runs[index]
        frame = Frame(run.at, run.end, _contents(held))
        self._cells[position, index] = Edit(run.at, run.end, new, frame)

    def _span(self, position: int, index: int, width: int) -> tuple[int, int, Frame | None]:
        """Return where a typed value stands, and the frame in which it does. A `width` of 0 is a varint's."""
        held = self._held[position]
        ends = self._ends.get(position)
        if ends is None:
            ends = self._ends[position] = list(accumulate(self._count(run, width) for run in held.runs))
        at = bisect_right(ends, index)
        run = held.runs[at]
        contents = _contents(held)
        if run.wire != LENGTH:
            return run.at, run.end, contents
        frame = Frame(run.at, run.end, contents)
        inside = index - (ends[at - 1] if at else 0)
        if width:
            start = run.at + inside * width
            return start, start + width, frame
        bounds = self._bounds_of(run)
        return int(bounds[inside]), int(bounds[inside + 1]), frame

    def _count(self, run: Part, width: int) -> int:
        if run.wire != LENGTH:
            return 1
        return (run.end - run.at) // width if width else len(self._bounds_of(run)) - 1

    def _bounds_of(self, run: Part) -> NDArray[np.int64]:
        bounds = self._bounds.get(run.at)
        if bounds is None:
            bounds = self._bounds[run.at] = varint_starts(self._body, run.at, run.end)
        return bounds


def _contents(held: Held) -> Frame | None:
    if held.contents is None:
        return None
    return Frame(held.contents.at, held.contents.end, Frame(held.entry.at, held.entry.end))
