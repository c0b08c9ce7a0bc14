"""The `unusual` check: an answer lies further from what is usual of its entity than answers of this model commonly do.

Decides how the check is written, its verdict on one answer, and what is said of it. What is usual, and how far is common, is
remembered elsewhere: while too little is known the verdict is unknown, which never counts as a violation.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from guardproxy.decision import Verdict
from guardproxy.rules.context import Context
from guardproxy.rules.entities import read_by
from guardproxy.rules.language import ERROR, NO, UNKNOWN, YES, Column, LanguageError, Ref
from guardproxy.rules.model import Check
from guardproxy.rules.past import Usual, distance
from guardproxy.source import Node
from guardproxy.table import Cell

UNUSUAL: Final = "unusual"
UNUSUAL_KEYS: Final = ("field", "by", "false_alarms")
DEFAULT_FALSE_ALARMS: Final = 0.001
LEAST_FALSE_ALARMS: Final = 0.0001
MOST_FALSE_ALARMS: Final = 0.1
"""Between these a limit can be learned from the answers that are kept, and is still of some use."""

_CODES: Final = {True: YES, False: NO, None: UNKNOWN}


def read_unusual(node: Node, context: Context) -> Check | None:
    """Read `unusual`: an output, the entity that it belongs to, and how often an ordinary answer may be called unusual."""
    before = context.errors()
    entries = context.mapping(node, UNUSUAL, UNUSUAL_KEYS, required=("field",))
    named = context.field(entries["field"].value, "unusual.field") if "field" in entries else None
    if named is not None and named.space != "output":
        message = "the past holds predictions: what is unusual must be an output"
        context.reader.report("E302", message, entries["field"].value.place, "write output.NAME")
    by = read_by(entries, context, UNUSUAL)
    share: float | None = DEFAULT_FALSE_ALARMS
    if "false_alarms" in entries:
        share = context.reader.number(
            entries["false_alarms"].value,
            "unusual.false_alarms",
            low=LEAST_FALSE_ALARMS,
            high=MOST_FALSE_ALARMS,
        )
    if named is None or by is None or share is None or context.errors() > before:
        return None
    bound = f"no further from what is usual of its entity than all but {share * 100:.4g}% of the answers"
    return Check(UNUSUAL, (named,), by=by, false_alarms=share, bound=bound)


def usual_ref(check: Check) -> Ref:
    """Return the name under which the gathered cells hold what is usual; see `layout.usual_cells`."""
    return Ref("usual", check.fields[0].name, repr(check.false_alarms))


def unusual(check: Check, cells: Sequence[Cell]) -> bool | None:  # noqa: ARG001 - one signature for all row checks
    """Tell whether an answer is near enough to what is usual; None where the one or the other is not known.

    `cells` are the answer and what `layout.usual_cells` gives. Raises LanguageError for an answer that is no number.
    """
    usual = cells[1] if len(cells) > 1 else None
    value = _number(cells[0])
    if value is None or not isinstance(usual, tuple):
        return None
    middle, spread, limit = (float(part or 0.0) for part in usual)
    return distance(value, Usual(middle, spread)) <= limit


def unusual_columns(check: Check, places: Sequence[int]) -> Callable[[Sequence[Column], int], Column]:
    """Return the check as a function of columns, for the places of the answer and of what is usual."""

    def run(columns: Sequence[Column], rows: int) -> Column:
        picked = [columns[place] for place in places]
        codes = np.fromiter(
            (_code(check, [column.cell(row) for column in picked]) for row in range(rows)),
            dtype=np.int8,
            count=rows,
        )
        return Column(np.full(rows, np.nan), codes=codes)

    return run


def unusual_words(check: Check, verdict: Verdict, value: Cell, usual: Cell) -> tuple[str, str]:
    """Return a sentence on a verdict, and the bound as it reads on this row."""
    name = check.fields[0].name
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is None:
        return f"cannot be judged: {name} is {'missing' if value is None else 'no number'}", check.bound
    if not isinstance(usual, tuple):
        return (
            "cannot be judged yet: too few answers of this entity, or of the model, are known",
            check.bound,
        )
    middle, spread, limit = (float(part or 0.0) for part in usual)
    off = distance(float(number), Usual(middle, spread))
    times = _times(float(number), middle) if verdict is Verdict.VIOLATED else ""
    message = (
        f"{name} is {float(number):,.6g} where {middle:,.6g} is usual of this entity{times}: {off:.3g} spreads away, "
        f"and all but {check.false_alarms * 100:.4g}% of the answers stay within {limit:.3g}"
    )
    return message, f"within {limit:.3g} spreads of {middle:,.6g}"


def _times(value: float, usual: float) -> str:
    """Say how many times as much a value is; nothing where that is no measure."""
    share = value / usual if usual else 0.0
    return f", {share:,.3g} times as much" if share > 0.0 else ""


def _code(check: Check, cells: Sequence[Cell]) -> int:
    try:
        return _CODES[unusual(check, cells)]
    except LanguageError:
        return ERROR


def _number(cell: Cell) -> float | None:
    if cell is None or cell != cell:
        return None
    if isinstance(cell, bool) or not isinstance(cell, (float, int)):
        raise LanguageError("what is unusual must be a number")
    try:
        return float(cell)
    except OverflowError:
        return math.inf if cell > 0 else -math.inf
