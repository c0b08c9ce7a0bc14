"""Moments as texts and numbers: which form they have, and which second they mean.

Decides what counts as a date or a moment. What follows from its age is left to `fit` and `limits`.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import numpy as np

from guardproxy.profile.model import TimeForm
from guardproxy.table import Floats

TIMESTAMP: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?", re.ASCII
)
"""A date or a moment in ISO 8601, as clients write it."""

EPOCHS: Final[Mapping[TimeForm, tuple[float, float]]] = MappingProxyType(
    {TimeForm.EPOCH_SECONDS: (5e8, 5e9), TimeForm.EPOCH_MILLISECONDS: (5e11, 5e12)}
)
"""Between which numbers a count of seconds or milliseconds is believed to be a moment: 1985 to 2128."""

UNITS: Final[Mapping[TimeForm, float]] = MappingProxyType(
    {TimeForm.EPOCH_SECONDS: 1.0, TimeForm.EPOCH_MILLISECONDS: 1e-3}
)
"""How many seconds one of these counts."""

_CLOCK: Final = r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d{1,9})?)?)?"
_YEAR_FIRST: Final = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})" + _CLOCK, re.ASCII)
_SLASHED: Final = re.compile(r"\d{1,2}/\d{1,2}/(?:\d{2}|\d{4})" + _CLOCK, re.ASCII)
_DOTTED: Final = re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}" + _CLOCK, re.ASCII)
_LONGEST: Final = 40
_DATE: Final = 10
_MANY: Final = 50


def read_moment(text: str) -> tuple[TimeForm, float] | None:
    """Return the form of a text that is a date or a moment, and its Unix seconds; None when it is none.

    The seconds are NaN where the form does not tell days from months. A moment without a zone is read as UTC.
    """
    if len(text) > _LONGEST or not text[:1].isdigit():
        return None
    for form, read in _READERS.items():
        seconds = read(text)
        if seconds is not None:
            return form, seconds
    return None


def seconds_of_texts(texts: Sequence[str]) -> Floats:
    """Return the Unix seconds that texts mean, NaN where one is no moment or does not tell days from months."""
    alike = _alike(texts)
    if alike is not None:
        try:
            read = np.array(alike, dtype="datetime64[us]").astype(np.int64) / 1e6
        except ValueError:
            pass  # Some are no moments: each is then read by itself.
        else:
            return read
    moments = [read_moment(text) for text in texts]
    return np.array([math.nan if moment is None else moment[1] for moment in moments], dtype=np.float64)


def unix_seconds(times: Floats) -> Floats:
    """Return the Unix seconds that numbers of a time column mean, NaN where they are a count of something else."""
    seconds = np.full(len(times), np.nan)
    for form, (low, high) in EPOCHS.items():
        inside = (times >= low) & (times < high)
        seconds[inside] = times[inside] * UNITS[form]
    return seconds


def epoch_form(least: float, most: float) -> TimeForm | None:
    """Return the form of whole numbers from `least` to `most` that may be moments, None where they cannot be."""
    for form, (low, high) in EPOCHS.items():
        if low <= least and most < high:
            return form
    return None


def _alike(texts: Sequence[str]) -> list[str] | None:
    """Return texts of one length and form as numpy reads them (in UTC, without a zone); None where they differ."""
    if len(texts) < _MANY or len(texts[0]) < _DATE or len(set(map(len, texts))) > 1:
        return None
    if texts[0].endswith("Z"):
        texts = [text[:-1] for text in texts] if all(text.endswith("Z") for text in texts) else []
    plain = texts and TIMESTAMP.fullmatch(texts[0]) and not set("+Z") & set(texts[0])
    return list(texts) if plain and "-" not in texts[0][_DATE:] else None


def _iso(text: str) -> float | None:
    if TIMESTAMP.fullmatch(text) is None:
        return None
    try:
        # A leap second is no second of the calendar that computers keep.
        read = datetime.fromisoformat(text.replace(":60", ":59"))
    except ValueError:
        return None
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()


def _year_first(text: str) -> float | None:
    match = _YEAR_FIRST.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime(*(int(part or 0) for part in match.groups()), tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]
    except ValueError:
        return None


def _form_only(form: re.Pattern[str]) -> Callable[[str], float | None]:
    return lambda text: math.nan if form.fullmatch(text) is not None else None


_READERS: Final[Mapping[TimeForm, Callable[[str], float | None]]] = MappingProxyType(
    {
        TimeForm.ISO: _iso,
        TimeForm.YEAR_FIRST: _year_first,
        TimeForm.SLASHED: _form_only(_SLASHED),
        TimeForm.DOTTED: _form_only(_DOTTED),
    }
)
