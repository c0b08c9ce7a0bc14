"""The `profile` check of rules: how many of a row's fields lie outside what was learned.

Decides which fields are compared, whether the numbers of a row are asked whether they fit together, and how often a comparison
that several rules share is made. What outside means is left to `profile`.

A rule about all features asks the joint check too, unless it puts percentiles in the place of what was learned. A row whose
fields are all inside and whose numbers do not fit together counts as one field outside: where a field is outside, the others
can hardly fit it, and it would be counted twice.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.decision import Verdict
from guardproxy.profile.check import BoundCheck, compile_check
from guardproxy.profile.check import Check as ProfileCheck
from guardproxy.profile.joint_bound import BoundJoint, bind_profile
from guardproxy.profile.joint_words import explain_joint
from guardproxy.profile.model import FieldProfile, Profile
from guardproxy.rules.layout import row_table
from guardproxy.rules.model import Check, View
from guardproxy.rules.names import profiled_output
from guardproxy.table import Cell, Codes, Mask, Table

_FLOAT_BITS: Final = 1_000
Counts: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """A profile check on one message's fields; `space` says whether it looks at features or at the output.

    `joint` is asked whether a row's numbers fit together, where the check is one of all features.
    """

    space: str
    check: ProfileCheck
    bound: BoundCheck
    joint: BoundJoint | None = None

    def table(self, view: View) -> Table:
        """Return the table that is looked at."""
        if self.space == "features":
            return view.features
        if view.output is None:
            raise ValueError("a check of predictions needs the response")
        return view.output

    def few(self, view: View, at_least: int) -> Mask | None:
        """Return by row whether fewer than `at_least` fields lie outside; None when that is so everywhere."""
        return fewer(self.counts(view), at_least)

    def counts(self, view: View) -> Counts | None:
        """Return by row how much of it lies outside; None when nothing does anywhere."""
        table = self.table(view)
        outside = self.bound.outside(table, view.facts.at if view.times is None else view.times)
        odd = None if self.joint is None else self.joint.odd(table)
        if outside is None:
            return None if odd is None else odd.astype(np.intp)
        counts: Counts = np.count_nonzero(outside, axis=0)
        return counts if odd is None else np.asarray(np.maximum(counts, odd))

    def sentences(self, view: View, row: int) -> list[tuple[str, str, str, str]]:
        """Return (field, sentence, bound, source) for each field of a row that lies outside, or that fits the others least."""
        table = row_table(self.table(view), row)
        at = view.facts.at if view.times is None else float(view.times[row])
        codes = self.bound.outside(table, at)
        if codes is None:
            misfit = None if self.joint is None else explain_joint(self.joint, table)
            return (
                []
                if misfit is None
                else [(misfit.field, misfit.said.sentence, misfit.said.bound, misfit.said.source)]
            )
        found = []
        for name, code in zip(self.bound.fields, codes[:, 0].tolist(), strict=True):
            if code:
                said = self.check.explain(name, _shown(table.cell(name, 0)), code, at)
                found.append((name, said.sentence, said.bound, said.source))
        return found


def _shown(cell: Cell) -> Cell:
    """Return a cell that can be written out: a whole number beyond any float is shown as an infinite one."""
    if type(cell) is int and cell.bit_length() > _FLOAT_BITS:
        return math.inf if cell > 0 else -math.inf
    return cell


def fewer(counts: Counts | None, at_least: int) -> Mask | None:
    """Tell by row whether less lies outside; None when that is so everywhere."""
    if counts is None:
        return None
    few: Mask = counts < at_least
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
    together = profile.together if space == "features" else ()
    made = compile_check(known, names, check.outside, together)
    bound = made.bind(features if space == "features" else outputs)
    joint = bind_profile(profile, features) if check.every == "features" and check.outside is None else None
    return Inside(space, made, bound, joint)


def _renamed(profile: Profile, outputs: tuple[str, ...]) -> Mapping[str, FieldProfile]:
    """Return the output profiles under the message's own names."""
    found = dict(profile.outputs)
    for name in outputs:
        own = profiled_output(profile, name, outputs)
        if own is not None and own != name:
            found = {name: replace(profile.outputs[own], name=name)}
    return found
