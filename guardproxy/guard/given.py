"""What a test case says was learned: a profile with the case's own statistics in the place of the learned ones.

Decides that `min` and `max` of a field are its learned bounds as well, so that a rule with a `profile` check can be tested
without a profile.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from guardproxy.profile.model import KNOTS, FieldKind, FieldProfile, Profile, Role, parse_percentile

Stats = Mapping[tuple[str, str], float]

_OUTPUT: Final = "output."
_ENDS: Final = {"min": ("minimum", "low"), "max": ("maximum", "high")}
_MOMENTS: Final = frozenset({"mean", "std"})


def given_profile(model: str, learned: Profile | None, stats: Stats) -> Profile | None:
    """Return the profile that a case is judged by: the learned one with the statistics that the case gives.

    Without a learned one there is none either, unless the case says something that a `profile` check can use: anything
    of a feature, or a bound of an output.
    """
    if not stats:
        return learned
    fields: dict[str, dict[str, float]] = {}
    for (name, stat), value in stats.items():
        fields.setdefault(name.removeprefix("features."), {})[stat] = value
    if learned is None:
        if not any(not name.startswith(_OUTPUT) or _ENDS.keys() & said for name, said in fields.items()):
            return None
        learned = Profile(model, "", 0, 0.0, {})
    features, outputs = dict(learned.features), dict(learned.outputs)
    for name, said in fields.items():
        role, known = (Role.OUTPUT, outputs) if name.startswith(_OUTPUT) else (Role.FEATURE, features)
        own = name.removeprefix(_OUTPUT)
        known[own] = _with(known.get(own) or FieldProfile(own, FieldKind.NUMBER, role), said)
    return replace(learned, features=features, outputs=outputs)


def _with(field: FieldProfile, said: Mapping[str, float]) -> FieldProfile:
    """Return a number field with given statistics; any other field as it is."""
    if not field.numeric:
        return field
    changes: dict[str, Any] = {stat: said[stat] for stat in _MOMENTS & said.keys()}
    for stat, names in _ENDS.items():
        if stat in said:
            changes |= dict.fromkeys(names, said[stat])
    made = replace(field, **changes)
    return replace(made, knots=_knots(made, said))


def _knots(field: FieldProfile, said: Mapping[str, float]) -> tuple[float, ...]:
    """Return the percentiles that go through the given ones, on straight lines from one to the next."""
    given = {
        percent: value for stat, value in said.items() if (percent := parse_percentile(stat)) is not None
    }
    if not given:
        return field.knots
    ends = {0.0: field.minimum, 100.0: field.maximum}
    points = {percent: value for percent, value in ends.items() if value is not None} | given
    percents = sorted(points)
    return tuple(np.interp(KNOTS, percents, [points[percent] for percent in percents]).tolist())
