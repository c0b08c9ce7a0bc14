"""A provisional profile gives more room than few rows show, and never crosses a sign."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.profile.model import FieldKind, FieldProfile, Method, Profile, Sign
from guardproxy.profile.provisional import ROOM, widened


def profile_of(field: FieldProfile) -> Profile:
    return Profile("m", "", 200, 0.001, {field.name: field})


@given(
    st.floats(-1e12, 1e12), st.floats(0, 1e12), st.sampled_from(Sign), st.booleans(), st.sampled_from(Method)
)
def test_every_bound_of_a_tail_moves_out_and_keeps_its_sign(
    start: float, span: float, sign: Sign, whole: bool, method: Method
) -> None:
    start = abs(start) + 1.0
    low, high = (
        (-start - span, -start) if sign in {Sign.NEGATIVE, Sign.NON_POSITIVE} else (start, start + span)
    )
    field = FieldProfile(
        "x",
        FieldKind.NUMBER,
        low=low,
        high=high,
        low_method=method,
        high_method=method,
        sign=sign,
        whole=whole,
    )
    wide = widened(profile_of(field)).features["x"]
    assert wide.low is not None
    assert wide.high is not None
    assert wide.low <= low
    assert wide.high >= high
    if method in {Method.STRUCTURAL, Method.EDITED}:
        assert (wide.low, wide.high, wide.low_method) == (low, high, method)
        return
    assert wide.low_method is wide.high_method is Method.WIDENED
    if sign is Sign.POSITIVE and not whole:
        assert wide.low > 0.0
    if sign is Sign.NON_NEGATIVE:
        assert wide.low >= 0.0
    if sign is Sign.NON_POSITIVE:
        assert wide.high <= 0.0
    if sign is Sign.ANY:
        assert wide.high - wide.low >= (1.0 + 2.0 * ROOM) * (high - low) * (1.0 - 1e-9)


def test_sets_open_and_nothing_is_required() -> None:
    field = FieldProfile(
        "c", FieldKind.CATEGORY, domain=("a", "b"), closed=True, required=True, max_length=4, min_length=1
    )
    wide = widened(profile_of(field)).features["c"]
    assert (wide.closed, wide.required, wide.domain) == (False, False, ("a", "b"))
    assert (wide.min_length, wide.max_length) == (None, 8)
    assert widened(profile_of(replace(field, max_length=None))).features["c"].max_length is None


def test_arrays_get_room_in_their_norm_and_no_field_is_held_against_another() -> None:
    field = FieldProfile("v", FieldKind.ARRAY, norm_low=1.0, norm_high=9.0, low=-1.0, high=1.0)
    wide = widened(replace(profile_of(field), together=(("v", "w"),)))
    found = wide.features["v"]
    assert (found.norm_low, found.norm_high, found.low, found.high) == (0.0, 13.0, -2.0, 2.0)
    assert (wide.together, wide.joint) == ((), None)
