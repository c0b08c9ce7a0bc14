"""What is kept of one exchange between its reply and the next write, without the cells that nobody may keep.

Decides how fields are redacted: at once, in the caller's thread, before the exchange is kept at all. Which fields those are is
the operator's choice; how a record looks on disk is left to `encode`.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np

from guardproxy.decision import Decision, Outcome, RequestFacts, Verdict
from guardproxy.guard.recorded import Recorded
from guardproxy.rules.rollout import DIGEST_BYTES, digest_of
from guardproxy.table import Cell, Table

_CELL_BYTES: Final = 64
"""What a cell outside the block takes in memory beside its text, about."""

Previous = Mapping[tuple[str, ...], tuple[Mapping[str, Cell] | None, ...]]
"""By the fields that name an entity: one row's last good predictions each."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One screened exchange as it ended. `identity` is what its retry has in common with it (a key, or the body)."""

    id: str
    facts: RequestFacts
    decision: Decision
    features: Table
    predictions: Table | None
    previous: Previous
    holds: tuple[str, ...] = ()
    identity: bytes = b""


@dataclass(frozen=True, slots=True)
class Kept:
    """A draft after redaction. Its decision is reduced to outcomes and verdicts: sentences may quote what is redacted."""

    record: Recorded
    decision: Decision
    rows: int
    size: int

    def finished(self, weight: float) -> Recorded:
        """Return the record, which stands for `weight` exchanges."""
        record, decision = self.record, self.decision
        return Recorded(
            record.id,
            record.at,
            record.model,
            record.ruleset,
            record.facts,
            record.features,
            record.predictions,
            record.previous,
            tuple(_WORDS[code] for code in decision.outcomes.tolist()),
            _violated(decision),
            record.holds,
            weight,
            record.identity,
            record.redacted,
        )


_WORDS: Final = tuple(outcome.name.lower() for outcome in Outcome)


def is_loud(decision: Decision) -> bool:
    """Tell whether a rule had something to say: places are set aside for such exchanges."""
    return decision.outcome is not Outcome.ALLOWED or bool(decision.findings)


class Redactor:
    """Removes the named fields of exchanges; knows which of the names it has ever met."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """Take names as `Options.redact` has them."""
        self.names = frozenset(names)
        self.met: set[str] = set()
        # A digest of a body from which little is unknown can be turned back by guessing; with a secret it cannot.
        self._key = secrets.token_bytes(32) if names else b""

    def unmet(self) -> tuple[str, ...]:
        """Return the names that no exchange had so far: they may be misspelt."""
        return tuple(sorted(self.names - self.met))

    def keep(self, model: str, draft: Draft, size: int) -> Kept:
        """Return what may be kept of a draft that takes `size` bytes."""
        facts, features, predictions, previous = (
            draft.facts,
            draft.features,
            draft.predictions,
            draft.previous,
        )
        redacted: list[str] = []
        if self.names:
            features = self._table("features", features, redacted)
            predictions = None if predictions is None else self._table("output", predictions, redacted)
            previous = self._previous(previous, redacted)
            facts = self._facts(facts, redacted)
        decision = draft.decision
        record = Recorded(
            draft.id,
            facts.at,
            model,
            decision.ruleset,
            facts,
            features,
            predictions,
            previous,
            (),
            {},
            draft.holds,
            1.0,
            self._digest(draft.identity),
            tuple(dict.fromkeys(redacted)),
        )
        bare = Decision(
            model, decision.ruleset, decision.rows, decision.outcomes, decision.rules, decision.verdicts
        )
        return Kept(record, bare, decision.rows, size)

    def _digest(self, identity: bytes) -> bytes:
        """Return what canaries draw from, so that a replay draws as it was drawn; with a secret, an equal share of others."""
        if not self._key:
            return digest_of(identity)
        return blake2b(identity, digest_size=DIGEST_BYTES, key=self._key).digest()

    def _table(self, space: str, table: Table, redacted: list[str]) -> Table:
        hidden = [name for name in table.fields if self._hides(space, name)]
        if not hidden:
            return table
        redacted.extend(f"{space}.{name}" for name in hidden)
        block = table.block.copy()
        block[[table.fields.index(name) for name in hidden]] = np.nan
        block.flags.writeable = False
        exact = {name: cells for name, cells in table.exact.items() if name not in hidden}
        return Table(table.fields, table.rows, block, exact)

    def _previous(self, previous: Previous, redacted: list[str]) -> Previous:
        names = {name for rows in previous.values() for row in rows if row is not None for name in row}
        hidden = {name for name in names if self._hides("output", name)}
        if not hidden:
            return previous
        redacted.extend(f"output.{name}" for name in sorted(hidden))
        return {
            by: tuple(
                None if row is None else {name: None if name in hidden else row[name] for name in row}
                for row in rows
            )
            for by, rows in previous.items()
        }

    def _facts(self, facts: RequestFacts, redacted: list[str]) -> RequestFacts:
        if facts.caller is not None and self._hides("request", "caller"):
            redacted.append("request.caller")
            facts = facts._replace(caller=None)
        if facts.model_version is not None and self._hides("request", "model_version"):
            redacted.append("request.model_version")
            facts = facts._replace(model_version=None)
        return facts

    def _hides(self, space: str, name: str) -> bool:
        hidden = self.names.intersection((f"{space}.{name}", f"{space}.*"))
        self.met |= hidden
        return bool(hidden)


def size_of(draft: Draft) -> int:
    """Return about how many bytes of memory a draft's tables keep alive."""
    size = draft.decision.verdicts.nbytes + draft.decision.outcomes.nbytes
    for table in (draft.features, draft.predictions):
        if table is not None:
            size += len(table.fields) * table.rows * 8
            for cells in table.exact.values():
                size += _CELL_BYTES * len(cells) + sum(map(_size_of_cell, cells))
    for rows in draft.previous.values():
        size += sum(_CELL_BYTES * (1 + len(row)) for row in rows if row is not None)
        size += sum(_size_of_cell(cell) for row in rows if row is not None for cell in row.values())
    return size


def _size_of_cell(cell: Cell) -> int:
    if isinstance(cell, str):
        return 4 * len(cell)
    if isinstance(cell, tuple):
        return _CELL_BYTES * len(cell)
    return cell.bit_length() // 8 if isinstance(cell, int) else 0


def _violated(decision: Decision) -> dict[str, tuple[int, ...]]:
    hits = decision.verdicts == Verdict.VIOLATED
    if not hits.any():
        return {}
    # A refused request has verdicts of its request-phase rules only: they come first.
    return {
        rule: tuple(np.flatnonzero(row).tolist())
        for rule, row in zip(decision.rules, hits, strict=False)
        if row.any()
    }
