"""A profile in the terminal: one line per field, with a small histogram drawn from its knots.

Decides the layout, at most WIDTH columns. Colours and paging are left to the caller.
"""

import math
from bisect import bisect_right
from dataclasses import asdict, replace
from itertools import pairwise
from textwrap import wrap
from typing import Any, Final

from guardproxy.profile.joint_words import describe
from guardproxy.profile.model import KNOTS, Calibration, FieldKind, FieldProfile, Origin, Profile, Role
from guardproxy.profile.state import LearnerState
from guardproxy.table import Cell

WIDTH: Final = 100
_BARS: Final = " ▁▂▃▄▅▆▇█"
_BINS: Final = 20
_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))
_LAYOUT: Final = "{:<22} {:<10} {:>8} {:>27} {:<20} {}"


def show_profile(profile: Profile) -> str:
    """Return the profile as text: where it comes from, what it promises, and a line per field."""
    given = profile.provenance
    source = f", learned from {given.file} on {given.learned_at}" if given.file else ""
    said = (
        f"{profile.model}  version {profile.version}{source}",
        f"{profile.rows:,} rows, {100 * profile.alpha:g} % of clean rows may be flagged",
        *calibration_lines("features", profile.calibration, profile.alpha),
        *calibration_lines("outputs", profile.output_calibration, profile.alpha),
        *(() if profile.joint is None else (f"joint check: {describe(profile.joint)}",)),
        *_approval(profile),
        *(f"note: {note}" for note in profile.notes),
    )
    lines = [line for sentence in said for line in _wrapped(sentence)]
    for title, fields in (("features", profile.features), ("outputs", profile.outputs)):
        if fields:
            lines += ["", _LAYOUT.format(title, "kind", "missing", "inside", "distribution", "").rstrip()]
            lines += [_line(field) for field in fields.values()]
    lines += ["", "! a missing value is a violation   = the set is closed   ~ new values are allowed"]
    return "\n".join(_one_line(line)[:WIDTH] for line in lines)


def _wrapped(sentence: str) -> list[str]:
    """Break a sentence into lines; what is cut off may be the word that matters."""
    text = _one_line(sentence)
    begin = " " * (len(text) - len(text.lstrip()))
    return wrap(text.lstrip(), WIDTH, initial_indent=begin, subsequent_indent=begin + "  ")


def show_part(state: LearnerState) -> str:
    """Return what a part was learned from."""
    settings = state.settings
    roles = (
        ("target", settings.target),
        ("key", settings.keys),
        ("time", () if settings.time is None else (settings.time,)),
    )
    lines = [
        f"{settings.model}  a part, to be merged with others",
        f"{state.rows:,} rows, {100 * settings.alpha:g} % of clean rows may be flagged",
        *(f"{role}: {', '.join(names)}" for role, names in roles if names),
        *wrap(
            f"columns: {', '.join(state.columns)}",
            WIDTH,
            subsequent_indent="  ",
            max_lines=5,
            placeholder=" ...",
        ),
    ]
    return "\n".join(_one_line(line)[:WIDTH] for line in lines)


def profile_as_json(profile: Profile) -> dict[str, Any]:
    """Return the profile as plain data, with the percentiles of the knots beside it and whether rules may act on it.

    Of the joint check it says only that there is one: its arrays are for programs, which read the file.
    """
    plain = asdict(replace(profile, joint=None))
    for field in (*plain["features"].values(), *plain["outputs"].values()):
        if field["cells"] is not None:
            field["cells"]["known"] = sorted(field["cells"]["known"], key=str)
    return {**plain, "joint": profile.joint is not None, "acts": profile.acts, "percentiles": list(KNOTS)}


def calibration_lines(what: str, calibration: Calibration | None, alpha: float) -> list[str]:
    """Say in words what the held-back rows proved, and what they could not."""
    if calibration is None:
        return []
    counted = f"{calibration.flagged:,} of {calibration.rows:,} held-back rows flagged"
    lines = [f"{what}: {counted}, at most {100 * calibration.upper:.2g} % with 95 % confidence"]
    if calibration.upper > alpha:
        lines.append(f"  this does not prove {100 * alpha:g} %: {_why(calibration, alpha)}")
    if calibration.widened:
        words = ", ".join(calibration.widened[:5]) + (", ..." if len(calibration.widened) > 5 else "")
        lines.append(f"  the held-back rows asked for more room: {words}")
    return lines


def _approval(profile: Profile) -> list[str]:
    if profile.source is Origin.DATA:
        return []
    given = profile.approved
    if given is None:
        said = "nobody has approved it: rules on it count and do not act"
    elif profile.acts:
        said = f"approved by {given.by} at {given.at}"
    else:
        said = f"edited since {given.by} approved version {given.version}: rules on it count and do not act"
    return [f"learned from recorded traffic; {said}"]


def histogram(field: FieldProfile) -> str:
    """Draw a field's distribution in one line of blocks; empty where nothing is known of it."""
    few = len(field.top) and sum(count for _, count in field.top)
    if field.kind in {FieldKind.CATEGORY, FieldKind.BOOLEAN} or (few and field.distinct == len(field.top)):
        ordered = sorted(field.top, key=lambda item: _order(item[0])) if field.numeric else field.top
        return _bars([float(count) for _, count in ordered])
    if not field.knots or field.minimum is None or field.maximum is None or field.minimum >= field.maximum:
        return ""
    low, high = field.knots[1], field.knots[-2]
    if low >= high:
        low, high = field.minimum, field.maximum
    edges = [low + (high - low) * bin_ / _BINS for bin_ in range(1, _BINS)]
    shares = [0.0, *(_share_below(field, edge) for edge in edges), 100.0]
    return _bars([right - left for left, right in pairwise(shares)])


def _line(field: FieldProfile) -> str:
    name = field.name if len(field.name) <= 22 else field.name[:21] + "…"
    missing = f"{100 * field.missing_rate:.3g} %" if field.missing_rate else "0"
    mark = "!" if field.required else ""
    return _LAYOUT.format(
        name, field.kind, missing + mark, _inside(field), histogram(field), _mark(field)
    ).rstrip()[:WIDTH]


def _inside(field: FieldProfile) -> str:
    if field.role is Role.KEY:
        return "(key)"
    if field.numeric:
        low = "" if field.low is None else f"{field.low:.5g}"
        high = "" if field.high is None else f"{field.high:.5g}"
        return f"{low} .. {high}"
    if field.kind is FieldKind.CONSTANT:
        return _fit(
            f"always {_say(field.domain[0])}" if field.domain and field.domain[0] is not None else "empty"
        )
    if field.kind is FieldKind.CATEGORY and field.domain is not None:
        return _fit(f"{len(field.domain)}: " + ",".join(_say(value) for value in field.domain))
    return _fit(_shape(field))


def _shape(field: FieldProfile) -> str:
    """Say what texts, moments and arrays must look like."""
    if field.kind is FieldKind.TIMESTAMP:
        if field.low is None and field.high is None:
            return ", ".join(field.formats)
        low, high = (_age(bound) for bound in (field.low, field.high))
        return f"{low} .. {high} old"
    if field.pattern is not None:
        return field.pattern
    if field.max_length is None:
        return ""
    least = "up to " if field.min_length is None else f"{field.min_length:,} .. "
    unit = "members" if field.kind is FieldKind.ARRAY else "characters"
    if field.kind is FieldKind.ARRAY and field.min_length == field.max_length:
        least = ""
    return f"{least}{field.max_length:,} {unit}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    unit, name = next((one for one in _UNITS if abs(seconds) >= one[0]), (1.0, "s"))
    return f"{seconds / unit:.3g} {name}"


def _mark(field: FieldProfile) -> str:
    if (
        field.role is Role.KEY
        or field.domain is None
        or field.kind not in {FieldKind.CATEGORY, FieldKind.INTEGER}
    ):
        return ""
    return "=" if field.closed else "~"


def _fit(text: str) -> str:
    return text if len(text) <= 27 else text[:26] + "…"


def _say(value: Cell) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _one_line(text: str) -> str:
    """Names and values come from data: a line end or a terminal's control character must not break the table."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _order(value: Cell) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _share_below(field: FieldProfile, value: float) -> float:
    """Return the percentage of values at or below `value`, between the knots in proportion."""
    values = (field.minimum or 0.0, *field.knots, field.maximum or 0.0)
    percents = (0.0, *KNOTS, 100.0)
    right = bisect_right(values, value)
    if right == 0 or right == len(values):
        return 0.0 if right == 0 else 100.0
    width = values[right] - values[right - 1]
    return percents[right - 1] + (percents[right] - percents[right - 1]) * (value - values[right - 1]) / width


def _bars(weights: list[float]) -> str:
    most = max(weights, default=0.0)
    if most <= 0.0:
        return ""
    # Whatever is there at all gets the lowest block, so that a thin tail does not look empty.
    levels = (min(8, max(1, round(8 * weight / most))) if weight > 0.0 else 0 for weight in weights)
    return "".join(_BARS[level] for level in levels)


def _why(calibration: Calibration, alpha: float) -> str:
    needed = math.ceil(math.log(0.05) / math.log1p(-alpha))
    if calibration.rows < needed:
        return f"that takes {needed:,} held-back rows, {5 * needed:,} in all"
    return "the most recent rows differ from those before them"
