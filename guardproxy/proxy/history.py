"""What is remembered of each entity: its last good predictions, in process, bounded.

Decides which answers count as good (allowed rows, whole and finite) and what is forgotten at the bound (the entity not
heard of for longest). A store shared by replicas comes later and will stand behind the same two methods.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import numpy as np

from guardproxy.decision import Decision, Outcome
from guardproxy.table import Cell, Table

MAX_ENTITIES: Final = 200_000
MAX_KEY_CHARS: Final = 512

_Key = tuple[tuple[str, ...], tuple[Cell, ...]]


class History:
    """The last good predictions of one model's entities; implements `guard.Past`."""

    def __init__(self, keys: tuple[tuple[str, ...], ...], max_entities: int = MAX_ENTITIES) -> None:
        """Remember by each of the field tuples in `keys`."""
        self.forgotten = 0
        self.refused = 0
        self._keys = keys
        self._max = max_entities
        self._seen: OrderedDict[_Key, Mapping[str, Cell]] = OrderedDict()

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """The fields by which entities are remembered."""
        return self._keys

    def follow(self, keys: tuple[tuple[str, ...], ...]) -> None:
        """Remember by these fields from now on; what was remembered by others stays until it is forgotten."""
        self._keys = keys

    def __len__(self) -> int:
        return len(self._seen)

    def previous(self, by: tuple[str, ...], entity: tuple[Cell, ...]) -> Mapping[str, Cell] | None:
        """Return the entity's last good predictions, or None."""
        return self._seen.get((by, entity))

    def of_rows(self, by: tuple[str, ...], table: Table) -> tuple[Mapping[str, Cell] | None, ...]:
        """Return the last good predictions of each row's entity; an entity with a missing part is nobody."""
        columns = [table.column(name) for name in by if name in table.fields]
        if not by or len(columns) < len(by):
            return (None,) * table.rows
        entities = (tuple(column[row] for column in columns) for row in range(table.rows))
        return tuple(None if None in entity else self.previous(by, entity) for entity in entities)

    def remember(self, features: Table, predictions: Table, decision: Decision) -> None:
        """Keep the predictions of the rows that were allowed as they are."""
        if not self._keys:
            return
        allowed = np.flatnonzero(decision.outcomes == Outcome.ALLOWED).tolist()
        answers = [predictions.column(name) for name in predictions.fields]
        keys = [(by, [features.column(name) for name in by]) for by in self._keys]
        for row in allowed[-self._max :]:
            cells = [column[row] for column in answers]
            if None in cells or not all(map(_finite, cells)):
                continue
            values = dict(zip(predictions.fields, cells, strict=True))
            for by, columns in keys:
                self._keep(by, tuple(column[row] for column in columns), values)

    def _keep(self, by: tuple[str, ...], entity: tuple[Cell, ...], values: Mapping[str, Cell]) -> None:
        if None in entity:
            return
        if any(isinstance(part, (str, tuple)) and len(part) > MAX_KEY_CHARS for part in entity):
            self.refused += 1
            return
        key = (by, entity)
        self._seen[key] = values
        self._seen.move_to_end(key)
        if len(self._seen) > self._max:
            self._seen.popitem(last=False)
            self.forgotten += 1


def _finite(cell: Cell) -> bool:
    if isinstance(cell, float):
        return cell - cell == 0
    if isinstance(cell, tuple):
        return all(part is not None and part - part == 0 for part in cell)
    return True
