"""The `profile` check of rules: how many of a row's fields lie outside what was learned.

Decides which fields are compared and how often a comparison that several rules share is made. What outside means is
left to `profile`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from guardproxy.decision import Verdict
from guardproxy.profile.check import BoundCheck, compile_check
from guardproxy.profile.check import Check as ProfileCheck
from guardproxy.profile.model import FieldProfile, Profile
from guardproxy.rules.layout import row_table
from guardproxy.rules.model import Check, View
from guardproxy.rules.names import profiled_output
from guardproxy.table import Cell, Codes, Mask, Table

_FLOAT_BITS: Final = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """A profile check on one message's fields; `space` says whether it looks at features or at the output."""

    space: str
    check: ProfileCheck
    bound: BoundCheck

    def table(self, view: View) -> Table:
        """Return the table that is looked at."""
        if self.space == "features":
            return view.features
        if view.output is None:
            raise ValueError("a check of predictions needs the response")
        return view.output

    def few(self, view: View, at_least: int) -> Mask | None:
        """Return by row whether fewer than `at_least` fields lie outside; None when that is so everywhere."""
        return fewer(self.bound.outside(self.table(view)), at_least)

    def sentences(self, view: View, row: int) -> list[tuple[str, str, str, str]]:
        """Return (field, sentence, bound, source) for each field of a row that lies outside."""
        table = row_table(self.table(view), row)
        codes = self.bound.outside(table)
        if codes is None:
            return []
        found = []
        for name, code in zip(self.bound.fields, codes[:, 0].tolist(), strict=True):
            if code:
                said = self.check.explain(name, _shown(table.cell(name, 0)), code)
                found.append((name, said.sentence, said.bound, said.source))
        return found


def _shown(cell: Cell) -> Cell:
    """Return a cell that can be written out: a whole number beyond any float is shown as an infinite one."""
    if type(cell) is int and cell.bit_length() > _FLOAT_BITS:
        return math.inf if cell > 0 else -math.inf
    return cell


def fewer(outside: Codes | None, at_least: int) -> Mask | None:
    """Turn positions (fields, rows) into yes or no by row; None is yes everywhere."""
    if outside is None:
        return None
    few: Mask = np.count_nonzero(outside, axis=0) < at_least
    return None if few.all() else few


def judge_inside(codes: Codes, few: Mask | None) -> None:
    """Mark the rows whose verdict was ok so far, in place."""
    if few is not None:
        codes[(codes == Verdict.OK) & ~few] = Verdict.VIOLATED


def bind_inside(
    check: Check, profile: Profile, features: tuple[str, ...], outputs: tuple[str, ...]
) -> Inside:
    """Bind a rule's profile check to a message's field names."""
    space = check.every or check.fields[0].space
    known = dict(profile.features) if space == "features" else _renamed(profile, outputs)
    names = None if check.every else [named.name for named in check.fields if named.name in known]
    made = compile_check(known, names, check.outside)
    return Inside(space, made, made.bind(features if space == "features" else outputs))


def _renamed(profile: Profile, outputs: tuple[str, ...]) -> Mapping[str, FieldProfile]:
    """Return the output profiles under the message's own names."""
    found = dict(profile.outputs)
    for name in outputs:
        own = profiled_output(profile, name, outputs)
        if own is not None and own != name:
            found = {name: replace(profile.outputs[own], name=name)}
    return found
