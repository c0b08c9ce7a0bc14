"""What is said and recorded of rows that get no answer, whatever the protocol carries it.

Decides the sentences of a reject and of a withheld row, and what a decision becomes when it cannot be carried out.
Which status that is, and whether a route would rather pass, is left to `exchange` and to `grpc`.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from guardproxy.decision import Decision, Outcome, Reason

MAX_NAMED: Final = 50
MAX_SENTENCES: Final = 10
MAX_TEXT: Final = 2_000


def reject_text(decision: Decision) -> str:
    """Return why rows are rejected, each sentence with its row."""
    rejected = set(decision.rejected)
    said = [f"row {f.row}: {f.message}" for f in decision.findings if f.acts and f.row in rejected]
    return ("; ".join(dict.fromkeys(said[:MAX_SENTENCES])) or "rejected")[:MAX_TEXT]


def withheld_text(decision: Decision) -> str:
    """Return which rows have no answer that may be given."""
    rows = ", ".join(str(row) for row in decision.withheld[:MAX_NAMED])
    return f"row {rows} is held for review" if decision.held else f"no safe answer for row {rows}"


def unstored(decision: Decision) -> Decision:
    """Return what a decision becomes when its holds could not be stored and its provisional answer is served anyway."""
    outcomes = decision.outcomes.copy()
    patched = {replacement.row for replacement in decision.patch}
    for row in np.flatnonzero(outcomes == Outcome.HELD).tolist():
        outcomes[row] = Outcome.REPLACED if row in patched else Outcome.UNGUARDED
    return replace(decision, outcomes=outcomes, reason=Reason.FAULT, held=())


def refused(decision: Decision) -> Decision:
    """Return what a decision becomes when a fault of guardproxy's own keeps its answer from being given."""
    outcomes = np.full(decision.rows, Outcome.REJECTED, dtype=np.uint8)
    return replace(decision, outcomes=outcomes, reason=Reason.FAULT, held=())
