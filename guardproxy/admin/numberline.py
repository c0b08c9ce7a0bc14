"""A learned range and one value as a drawing: positions only.

Decides the scale: the learned band fills the middle, a value far outside stands at the edge with an arrow instead of
squeezing the band into nothing. Colours and words are left to the template.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from guardproxy.admin.text import number
from guardproxy.holds import Band

WIDTH: Final = 600.0
_LEFT: Final = 24.0
_RIGHT: Final = 576.0
_FAR: Final = 1.5
"""A value farther from the band than this many band widths is drawn at the edge."""

_NUMBER: Final = r"[-+−]?\d[\d,]{0,20}(?:\.\d{1,12})?(?:[eE][-+]?\d{1,3})?"
_BOUND: Final = re.compile(
    rf"(?:[<>≤≥]=?\s*|at (?:most|least)\s+|\[)?({_NUMBER})(?:\s*(?:\.\.|–|to|,)\s*({_NUMBER}))?\]?"
)


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled position; `anchor` keeps the label inside the drawing."""

    x: float
    label: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Line:
    """Where everything stands on a drawing WIDTH wide.

    `beyond` is -1 or 1 when the value lies past the left or right edge, else 0. `value` is None when there is none.
    """

    field: str
    band: tuple[float, float] | None
    inner: tuple[float, float] | None
    median: Tick | None
    value: Tick | None
    lo: Tick | None
    hi: Tick | None
    bounds: tuple[Tick, ...]
    outside: bool
    beyond: int
    sentence: str


def line_of(band: Band, bound: str = "") -> Line | None:
    """Lay out a number line, or return None when there is nothing to place a value against.

    `bound` is a rule's bound as text; where it is a number or a range of numbers it gets ticks of its own.
    """
    edges = (band.lo, band.hi, band.p1, band.p50, band.p99)
    known = [edge for edge in edges if edge is not None and math.isfinite(edge)]
    bounds = [edge for edge in _numbers(bound) if math.isfinite(edge)]
    if not known and not bounds:
        return None
    low, high = _domain(known or bounds, [*bounds, *_near(band.value)])
    scale = _Scale(low, high)
    value = band.value
    beyond = 0 if value is None or not math.isfinite(value) else (value > high) - (value < low)
    if value is not None and math.isinf(value):
        beyond = 1 if value > 0 else -1
    return Line(
        field=band.field,
        band=scale.span(band.lo, band.hi),
        inner=scale.span(band.p1, band.p99) if _finite(band.p1) and _finite(band.p99) else None,
        median=scale.tick(band.p50),
        value=None if value is None or math.isnan(value) else scale.tick(value, clip=True),
        lo=scale.tick(band.lo),
        hi=scale.tick(band.hi),
        bounds=tuple(tick for tick in map(scale.tick, bounds) if tick is not None),
        outside=band.outside,
        beyond=beyond,
        sentence=_sentence(band),
    )


class _Scale:
    def __init__(self, low: float, high: float) -> None:
        self._low = low
        self._width = (high - low) or 1.0

    def at(self, value: float) -> float:
        share = (value - self._low) / self._width
        return round(_LEFT + max(0.0, min(1.0, share)) * (_RIGHT - _LEFT), 1)

    def tick(self, value: float | None, *, clip: bool = False) -> Tick | None:
        if value is None or math.isnan(value) or (math.isinf(value) and not clip):
            return None
        x = self.at(value)
        anchor = "start" if x < WIDTH * 0.15 else "end" if x > WIDTH * 0.85 else "middle"
        return Tick(x, number(value), anchor)

    def span(self, lo: float | None, hi: float | None) -> tuple[float, float] | None:
        """Return x and width of a stretch; an unknown side reaches to the edge."""
        if not _finite(lo) and not _finite(hi):
            return None
        start = self.at(lo) if lo is not None and math.isfinite(lo) else _LEFT
        end = self.at(hi) if hi is not None and math.isfinite(hi) else _RIGHT
        return start, round(max(2.0, end - start), 1)


def _domain(known: list[float], others: list[float]) -> tuple[float, float]:
    low, high = min(known), max(known)
    width = (high - low) or abs(high) or 1.0
    for value in others:
        if low - _FAR * width <= value <= high + _FAR * width:
            low, high = min(low, value), max(high, value)
    margin = ((high - low) or width) * 0.18
    if not math.isfinite(high - low + 2 * margin):  # bounds near the largest float
        return low / 4, high / 4
    return low - margin, high + margin


def _near(value: float | None) -> list[float]:
    return [value] if value is not None and math.isfinite(value) else []


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _numbers(bound: str) -> list[float]:
    match = _BOUND.fullmatch(bound.strip()[:80])
    if match is None:
        return []
    return [float(part.replace(",", "").replace("−", "-")) for part in match.groups() if part]


def _sentence(band: Band) -> str:
    unit = f" {band.unit}" if band.unit else ""
    value = "missing" if band.value is None else number(band.value) + unit
    if band.lo is None and band.hi is None:
        learned = "no bounds were learned"
    elif band.hi is None:
        learned = f"learned: at least {number(band.lo or 0.0)}{unit}"
    elif band.lo is None:
        learned = f"learned: at most {number(band.hi)}{unit}"
    else:
        learned = f"learned: {number(band.lo)} to {number(band.hi)}{unit}"
    median = "" if band.p50 is None else f", median {number(band.p50)}"
    return f"This value is {value}; {learned}{median}."
