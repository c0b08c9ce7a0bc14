"""Values and text as the console shows them.

Decides how a number, a time or a hostile string looks to a person. All text is taken to be hostile: it is cut, and
characters that hide, reorder or control are shown by their code point.
"""

import math
import unicodedata
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

from guardproxy.table import Cell

CUT: Final = 160
LONGEST: Final = 10_000
MISSING: Final = "missing"
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS: Final = frozenset({"Mn", "Me"})
_MAX_MARKS: Final = 2


def visible(text: str, limit: int = CUT) -> str:
    """Return text cut to `limit` characters in which nothing hides: `a\\u202eb` becomes `a⟨U+202E⟩b`.

    No more than two combining marks stay on one letter, since a stack of them covers the lines around it.
    """
    return "".join(part for part, _ in _parts(text, limit))


def visible_html(text: str, limit: int = CUT) -> Markup:
    """Return the same as HTML, hidden characters marked, and a longer text with a part that can be unfolded."""
    cut = _html(text, limit)
    if len(text) <= limit:
        return cut
    return Markup(
        '<details class="long"><summary>{} <span class="dim">({} characters)</span></summary><pre>{}</pre></details>'
    ).format(cut, f"{len(text):,}", _html(text, LONGEST))


def number(value: float) -> str:
    """Write a number with six significant digits and grouped thousands: `310,000`, `0.0614`, `1e+20`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (
            f"{value:,}"
            if abs(value) < 10**15
            else visible(str(value) if value.bit_length() < 4096 else "huge")
        )
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size != 0 and (size >= 1e15 or size < 1e-4):
        return f"{value:.6g}".replace("-", "−", 1) if value < 0 else f"{value:.6g}"
    digits = 0 if size == 0 else max(0, 5 - math.floor(math.log10(size)))
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−") if text != "-0" else "−0"


def cell(value: Cell, limit: int = CUT) -> str:
    """Write a cell for a person."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return f"“{visible(value, limit)}”"
    if isinstance(value, tuple):
        shown = ", ".join(MISSING if item is None else number(item) for item in value[:12])
        return f"[{shown}{', …' if len(value) > 12 else ''}]"
    return number(value)


def cell_html(value: Cell, limit: int = CUT) -> Markup:
    """Write a cell as HTML; long text can be unfolded."""
    if isinstance(value, str):
        return visible_html(value, limit)
    return escape(cell(value, limit))


def exact(value: Cell) -> str:
    """Write a cell so that reading it back gives the same value: what a form is filled with."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join("" if item is None else repr(item) for item in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return value if isinstance(value, str) else repr(value)


def duration(seconds: float) -> str:
    """Write a stretch of time in at most two units: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        hours, rest = divmod(whole // 60, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(whole // 3600, 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def rfc3339(at: float | None) -> str | None:
    """Write Unix seconds as RFC 3339 in UTC with milliseconds; None stays None."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None


def clock_time(at: float | None) -> str:
    """Write Unix seconds as a person reads them: `2026-03-01 14:05:09 UTC`."""
    text = rfc3339(at)
    return "–" if text is None else f"{text[:10]} {text[11:19]} UTC"


def _html(text: str, limit: int) -> Markup:
    return Markup("").join(
        Markup('<span class="ctl">{}</span>').format(part) if hidden else escape(part)
        for part, hidden in _parts(text, limit)
    )


def _parts(text: str, limit: int) -> list[tuple[str, bool]]:
    """Split text into (part, whether it stands for a hidden character)."""
    parts: list[tuple[str, bool]] = []
    plain: list[str] = []
    marks = 0
    for char in text[:limit]:
        category = unicodedata.category(char)
        marks = marks + 1 if category in _MARKS else 0
        if category in _HIDDEN:
            if plain:
                parts.append(("".join(plain), False))
                plain = []
            parts.append((f"⟨U+{ord(char):04X}⟩", True))
        elif marks <= _MAX_MARKS:
            plain.append(char)
    if len(text) > limit:
        plain.append("…")
    if plain:
        parts.append(("".join(plain), False))
    return parts
