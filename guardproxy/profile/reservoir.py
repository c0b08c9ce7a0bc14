"""A sample of rows, each as likely to be in it as any other, however the data were cut into parts.

Decides which rows stay: those with the smallest random keys (bottom-k sampling; Cohen and Kaplan 2007). Every row has its key before it
is offered, so the sample of several parts is the one that a single pass over all of them takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.profile.numbers import Places
from guardproxy.profile.packing import Node, Packed
from guardproxy.table import Floats

Labels: TypeAlias = NDArray[Any]
"""Texts by row, None where there is none."""

_NO_LABELS: Final[Mapping[str, Labels]] = {}
_SLACK: Final = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Rows by field: `numbers` has shape (fields, rows), NaN where a cell is no number; `labels` has the texts of the fields
    that have any. `at` is what the time column says of each row, `keys` the rows' random keys."""

    keys: Floats
    at: Floats
    numbers: Floats
    labels: Mapping[str, Labels]

    def take(self, rows: Places) -> "Sampled":
        """Return these rows, in this order."""
        labels = {name: texts[rows] for name, texts in self.labels.items()}
        return Sampled(self.keys[rows], self.at[rows], self.numbers[:, rows], labels)


class Reservoir:
    """At most `capacity` rows of `width` fields."""

    def __init__(self, width: int, capacity: int) -> None:
        self.capacity = capacity
        self._width = width
        self._parts: list[Sampled] = []
        self._rows = 0
        self._ceiling = np.inf

    def wanted(self, keys: Floats) -> Places:
        """Return which of the rows with these keys may stay; add no others."""
        return np.flatnonzero(keys < self._ceiling)

    def add(self, rows: Sampled) -> None:
        """Add rows that were wanted."""
        if not len(rows.keys):
            return
        self._parts.append(rows)
        self._rows += len(rows.keys)
        if self._rows > _SLACK * self.capacity or len(self._parts) > 1_000:
            self._parts = [_chosen(_joined(self._parts), self.capacity)]
            self._rows = len(self._parts[0].keys)
            if self._rows >= self.capacity:
                self._ceiling = float(self._parts[0].keys[-1])

    def absorb(self, other: "Reservoir") -> None:
        """Add the rows of another one."""
        rows = other.rows()
        self.add(rows.take(self.wanted(rows.keys)))

    def rows(self) -> Sampled:
        """Return the sample, in the order of the keys."""
        if not self._parts:
            blank = np.empty(0)
            return Sampled(blank, blank, np.empty((self._width, 0)), _NO_LABELS)
        return _chosen(_joined(self._parts), self.capacity)

    def pack(self) -> Packed:
        """Return what a part keeps of this."""
        return {"capacity": self.capacity, "rows": pack_rows(self.rows())}

    @classmethod
    def unpack(cls, node: Node, width: int) -> Self:
        """Read what `pack` wrote."""
        reservoir = cls(width, node.integer("capacity", low=1, high=10**7))
        reservoir.add(unpack_rows(node.node("rows"), width))
        return reservoir


def pack_rows(rows: Sampled) -> Packed:
    """Return what a part keeps of rows."""
    return {
        "keys": rows.keys,
        "at": rows.at,
        "numbers": rows.numbers,
        "labels": {name: _pack_labels(labels) for name, labels in rows.labels.items()},
    }


def unpack_rows(node: Node, width: int) -> Sampled:
    """Read what `pack_rows` wrote."""
    keys, at = node.array("keys", np.float64), node.array("at", np.float64)
    numbers = node.array("numbers", np.float64, ndim=2)
    if len(at) != len(keys) or numbers.shape != (width, len(keys)):
        raise node.damaged("its sampled rows do not match")
    labels = {name: _unpack_labels(inner, len(keys)) for name, inner in node.nodes("labels")}
    return Sampled(keys, at, numbers, labels)


def _pack_labels(labels: Labels) -> Packed:
    places: dict[str, int] = {}
    codes = [-1 if text is None else places.setdefault(text, len(places)) for text in labels.tolist()]
    return {"codes": np.array(codes, dtype=np.int32), "texts": list(places)}


def _unpack_labels(node: Node, rows: int) -> Labels:
    codes, texts = node.array("codes", np.int32), node.texts("texts")
    if len(codes) != rows or (rows and not -1 <= codes.min() <= codes.max() < len(texts)):
        raise node.damaged("its sampled texts do not match")
    labels: Labels = np.array([*texts, None], dtype=object)[codes]
    return labels


def _joined(parts: list[Sampled]) -> Sampled:
    names = dict.fromkeys(name for part in parts for name in part.labels)
    labels = {
        name: np.concatenate(
            [part.labels.get(name, np.full(len(part.keys), None, dtype=object)) for part in parts]
        )
        for name in names
    }
    return Sampled(
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.at for part in parts]),
        np.concatenate([part.numbers for part in parts], axis=1),
        labels,
    )


def _chosen(rows: Sampled, capacity: int) -> Sampled:
    return rows.take(np.argsort(rows.keys, kind="stable")[:capacity])
