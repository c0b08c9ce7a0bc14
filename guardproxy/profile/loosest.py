"""The looser of two profiles of one field.

Decides what holds of a field that was checked on held-back rows and then fitted again with them: whatever was proved of the checked
bounds is true of the result, which flags no other row.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

from guardproxy.profile.fit import noted, unbounded
from guardproxy.profile.kinds import UNENFORCED
from guardproxy.profile.model import Chars, FieldKind, FieldProfile

_Bound = TypeVar("_Bound", int, float)

_FAMILIES: Final = (
    frozenset({FieldKind.NUMBER, FieldKind.INTEGER}),
    frozenset({FieldKind.CATEGORY, FieldKind.TEXT}),
)
"""Kinds whose facts are of the same sort."""


def loosest(checked: FieldProfile, final: FieldProfile) -> FieldProfile:
    """Return `final`, loosened where `checked` is looser.

    A field that was of another sort until late in the file keeps nothing but the check of its type.
    """
    if final.kind is not checked.kind and not any(
        {final.kind, checked.kind} <= family for family in _FAMILIES
    ):
        if checked.kind not in UNENFORCED and final.kind in UNENFORCED:
            return replace(final, required=checked.required and final.required)
        note = f"was {checked.kind} until late in the file: nothing but its type is checked"
        return noted(replace(unbounded(final), required=False, whole=False), note)
    low, low_method = final.low, final.low_method
    high, high_method = final.high, final.high_method
    if low is not None and (checked.low is None or checked.low < low):
        low, low_method = checked.low, checked.low_method
    if high is not None and (checked.high is None or checked.high > high):
        high, high_method = checked.high, checked.high_method
    same_pattern = checked.pattern == final.pattern
    return replace(
        final,
        low=low,
        low_method=low_method,
        high=high,
        high_method=high_method,
        required=checked.required and final.required,
        closed=checked.closed and final.closed,
        whole=checked.whole and final.whole,
        min_length=_looser(min, checked.min_length, final.min_length),
        max_length=_looser(max, checked.max_length, final.max_length),
        norm_low=_looser(min, checked.norm_low, final.norm_low),
        norm_high=_looser(max, checked.norm_high, final.norm_high),
        charset=_either(checked.charset, final.charset),
        pattern=final.pattern if same_pattern else None,
        pattern_coverage=final.pattern_coverage if same_pattern else None,
        formats=tuple(dict.fromkeys((*final.formats, *checked.formats))),
        sentinels=_all(final.sentinels, checked.sentinels),
    )


def _looser(
    choose: Callable[[_Bound, _Bound], _Bound], one: _Bound | None, two: _Bound | None
) -> _Bound | None:
    return None if one is None or two is None else choose(one, two)


def _either(one: tuple[Chars, ...], two: tuple[Chars, ...]) -> tuple[Chars, ...]:
    return tuple(chars for chars in Chars if chars in one or chars in two) if one and two else ()


def _all(
    final: Iterable[tuple[float, int]], checked: Iterable[tuple[float, int]]
) -> tuple[tuple[float, int], ...]:
    return tuple(sorted({**dict(checked), **dict(final)}.items()))
