"""A profile of few rows, made wider than they say.

Decides how much room is added where a bound rests on a tail that few rows can only guess at. When a profile is provisional is
left to the caller.
"""

import math
from dataclasses import replace
from typing import Final

from guardproxy.profile.model import FieldProfile, Method, Profile, Sign

ROOM: Final = 0.5
"""The share of what lies between a field's bounds that is added on each side."""

_FIRM: Final = frozenset({Method.STRUCTURAL, Method.EDITED})


def widened(profile: Profile) -> Profile:
    """Return the profile with wider bounds, open sets, no required field and no check of fields against each other.

    Its version must be stamped anew.
    """
    return replace(
        profile,
        joint=None,
        together=(),
        features={name: _wider(field) for name, field in profile.features.items()},
        outputs={name: _wider(field) for name, field in profile.outputs.items()},
    )


def _wider(field: FieldProfile) -> FieldProfile:
    loose = replace(field, closed=False, required=False, pattern=None, pattern_coverage=None, charset=())
    if field.max_length is not None:
        loose = replace(loose, min_length=None, max_length=2 * field.max_length)
    if field.norm_low is not None and field.norm_high is not None:
        room = ROOM * (field.norm_high - field.norm_low)
        loose = replace(loose, norm_low=max(0.0, field.norm_low - room), norm_high=field.norm_high + room)
    if field.low is None or field.high is None:
        return loose
    room = ROOM * (field.high - field.low)
    if not math.isfinite(room):
        return loose
    low, high = field.low - room, field.high + room
    if field.sign in {Sign.POSITIVE, Sign.NON_NEGATIVE}:
        low = max(low, min(field.low, 0.0)) if field.sign is Sign.NON_NEGATIVE else max(low, field.low / 2)
    if field.sign in {Sign.NEGATIVE, Sign.NON_POSITIVE}:
        high = (
            min(high, max(field.high, 0.0)) if field.sign is Sign.NON_POSITIVE else min(high, field.high / 2)
        )
    if field.whole:
        low, high = math.floor(low), math.ceil(high)
    if field.low_method not in _FIRM:
        loose = replace(loose, low=float(low), low_method=Method.WIDENED)
    if field.high_method not in _FIRM:
        loose = replace(loose, high=float(high), high_method=Method.WIDENED)
    return loose
