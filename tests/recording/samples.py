"""Exchanges to record, as small or as odd as a test needs them."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from guardproxy.decision import Action, Decision, Finding, Mode, Outcome, RequestFacts, Severity, Verdict
from guardproxy.recording import Draft, Options, Recorded, Recorder, read_recording
from guardproxy.table import Cell, Table, table_from_columns

START = 1_700_000_040.0
"""The beginning of a minute."""
RULES = ("not-negative", "plausible")


def facts(at: float, caller: str | None = None, version: str | None = None) -> RequestFacts:
    """Facts of a Tuesday."""
    return RequestFacts(at, 22, 1, "2023-11-14", caller, version)


def draft(number: int = 0, at: float = START, **changed: Any) -> Draft:
    """An exchange of one row, or of what is given instead."""
    features = changed.pop("features", {"price": [float(number)], "name": ["Ann"]})
    rows = len(next(iter(features.values())))
    predictions = changed.pop("predictions", {"demand": [5.0] * rows})
    return Draft(
        changed.pop("id", f"dec_{number}"),
        changed.pop("facts", facts(at)),
        changed.pop("decision", None) or decision(rows, **changed.pop("found", {})),
        table_from_columns(features, rows),
        None if predictions is None else table_from_columns(predictions, rows),
        changed.pop("previous", {}),
        **changed,
    )


def decision(
    rows: int = 1, violated: Mapping[str, Iterable[int]] = {}, outcome: Outcome = Outcome.ALLOWED
) -> Decision:
    """A decision whose violating rows have `outcome`."""
    verdicts, outcomes = np.zeros((len(RULES), rows), np.uint8), np.zeros(rows, np.uint8)
    findings = []
    for rule, hit in violated.items():
        for row in hit:
            verdicts[RULES.index(rule), row] = Verdict.VIOLATED
            outcomes[row] = outcome
            findings.append(
                Finding(rule, row, Verdict.VIOLATED, Mode.ENFORCE, Action.WARN, Severity.LOW, "name is 'Ann'")
            )
    return Decision("demand", "0123456789ab", rows, outcomes, RULES, verdicts, tuple(findings))


def recorder(folder: Path, **options: Any) -> Recorder:
    """A recorder with a seed; it may use the disk up to its last byte."""
    return Recorder(Options(folder, **{"low_water_bytes": 0, **options}), Random(7))


def offer(to: Recorder, one: Draft, model: str = "demand", loud: bool = False) -> bool:
    """Offer a draft at its own time."""
    return to.offer(model, one.facts.at, loud, lambda: one)


def read(folder: Path, **chosen: Any) -> list[Recorded]:
    """All that can be read."""
    return list(read_recording([folder], **chosen))


def same(left: Table | None, right: Table | None) -> bool:
    """Tell whether two tables hold the same cells, of the same types, and the same block."""
    if left is None or right is None:
        return left is right
    return (
        (left.fields, left.rows) == (right.fields, right.rows)
        and np.array_equal(left.block, right.block, equal_nan=True)
        and np.array_equal(np.signbit(left.block), np.signbit(right.block))
        and all(repr(left.column(name)) == repr(right.column(name)) for name in left.fields)
        and set(left.exact) == set(right.exact)
    )


NUMBERS = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.sampled_from([0.0, -0.0, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]),
)
BIG = st.one_of(
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**64, 10**400]), st.integers(2**53, 2**70)
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=5),
    st.sampled_from(["", "nan", "\x00", "\ud800", '"}\n{', "[\\", "😀"]),
)
VECTORS = st.lists(st.one_of(NUMBERS, BIG, st.none()), max_size=4).map(tuple)
CELLS: st.SearchStrategy[Cell] = st.one_of(NUMBERS, BIG, TEXTS, st.booleans(), st.none(), VECTORS)


@st.composite
def tables(draw: st.DrawFn, rows: int) -> Table:
    """Tables of `rows` rows whose columns are plain, missing here and there, or of any cells."""
    names = draw(st.lists(TEXTS, max_size=4, unique=True))
    if rows == 1 and names and draw(st.booleans()):
        single = draw(st.lists(st.floats(allow_nan=False), min_size=len(names), max_size=len(names)))
        return Table(tuple(names), 1, None, single=single)
    kinds = (NUMBERS, st.one_of(NUMBERS, st.none()), CELLS)
    columns = {
        name: draw(st.lists(draw(st.sampled_from(kinds)), min_size=rows, max_size=rows)) for name in names
    }
    return table_from_columns(columns, rows)
