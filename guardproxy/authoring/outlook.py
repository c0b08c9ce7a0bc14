"""What a profile would have flagged of recorded traffic: the report before a person approves it.

Decides what is counted and which examples are shown. What lies outside is left to the `profile` check of rules, so that the
report says what the rule will.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from guardproxy.authoring.learnable import fit_rows
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import MAX_SHAPES, Batch, batches
from guardproxy.profile.model import Profile
from guardproxy.rules.inside import Inside, bind_inside
from guardproxy.rules.model import Check, View
from guardproxy.table import Mask

EXAMPLES: Final = 3
MAX_EXPLAINED: Final = 10_000
"""Flagged rows that are looked at field by field; of the others only the number is told."""

_SPACES: Final = ("features", "output")


@dataclass(slots=True)
class Outlook:
    """What would have been flagged: of the rows that were learned from, and of those that were left out.

    `by_field` counts the flagged rows by field (`features.NAME`, `output.NAME`), of the `explained` ones. `examples` are
    sentences.
    """

    rows: int = 0
    flagged: int = 0
    left_out: int = 0
    left_out_flagged: int = 0
    explained: int = 0
    by_field: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


def look_ahead(profile: Profile, records: Iterable[Recorded]) -> Outlook:
    """Hold every recorded row against the profile."""
    found = Outlook()
    checks: dict[tuple[str, tuple[str, ...]], Inside] = {}
    for batch in batches(records):
        flagged = np.zeros(batch.rows, dtype=np.bool_)
        asked = []
        for inside, view in _asked(profile, batch, checks):
            few = inside.few(view, 1)
            if few is not None:
                flagged |= ~few
                asked.append((inside, view))
        _count(found, batch, flagged)
        for row in np.flatnonzero(flagged).tolist()[: MAX_EXPLAINED - found.explained]:
            _explain(found, batch, row, asked)
    return found


def _asked(
    profile: Profile, batch: Batch, checks: dict[tuple[str, tuple[str, ...]], Inside]
) -> Iterator[tuple[Inside, View]]:
    view = View(batch.features, batch.predictions, batch.facts, batch.previous, times=batch.times)
    for space in _SPACES:
        table = batch.features if space == "features" else batch.predictions
        if table is None or (space == "output" and not profile.outputs):
            continue
        key = (space, table.fields)
        if key not in checks:
            if len(checks) >= MAX_SHAPES:
                del checks[next(iter(checks))]
            outputs = () if batch.predictions is None else batch.predictions.fields
            checks[key] = bind_inside(Check("profile", every=space), profile, batch.features.fields, outputs)
        yield checks[key], view


def _count(found: Outlook, batch: Batch, flagged: Mask) -> None:
    for owner, record in enumerate(batch.exchanges):
        rows, _ = fit_rows(record)
        own = flagged[int(batch.starts[owner]) : int(batch.starts[owner + 1])]
        fit = int(np.count_nonzero(own[rows])) if rows else 0
        found.rows += len(rows)
        found.flagged += fit
        found.left_out += len(own) - len(rows)
        found.left_out_flagged += int(np.count_nonzero(own)) - fit


def _explain(found: Outlook, batch: Batch, row: int, asked: list[tuple[Inside, View]]) -> None:
    found.explained += 1
    said = [
        (f"{inside.space}.{name}", sentence)
        for inside, view in asked
        for name, sentence, _, _ in inside.sentences(view, row)
    ]
    found.by_field.update({name for name, _ in said})
    if said and len(found.examples) < EXAMPLES:
        record, own = batch.place(row)
        words = "; ".join(sentence for _, sentence in said[:EXAMPLES])
        found.examples.append(f"{record.id}, row {own} ({record.outcomes[own]}): {words}")
