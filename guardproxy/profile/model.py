"""The profile as types: what was learned of each field, and with which promise.

Decides the vocabulary and how a percentile is read from the knots. How the numbers are found is left to `learn` and
`fit`, how they are written to `document`, what lies outside them to `check`.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from guardproxy.profile.cells import Cells
from guardproxy.table import Cell

if TYPE_CHECKING:
    from guardproxy.profile.joint import Joint

KNOTS: Final = (
    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9,
)  # fmt: skip
"""The percentiles at which every number field's distribution is kept, in percent."""

CONFIDENCE: Final = 0.95
"""The confidence of every upper bound that a profile states."""

_PERCENTILE: Final = re.compile(r"p(\d{1,3})(?:_(\d{1,4}))?")


class FieldKind(StrEnum):
    """What sort of values a field holds."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    TEXT = "text"
    TIMESTAMP = "timestamp"
    ARRAY = "array"
    CONSTANT = "constant"
    IDENTIFIER = "identifier"


class Role(StrEnum):
    """What a field is for: a feature and an output are enforced, a key never is."""

    FEATURE = "feature"
    KEY = "key"
    OUTPUT = "output"


class Sign(StrEnum):
    """The sign class that every value of the reference data shares."""

    POSITIVE = ">0"
    NON_NEGATIVE = ">=0"
    NEGATIVE = "<0"
    NON_POSITIVE = "<=0"
    ANY = "any"


class TimeForm(StrEnum):
    """How a moment is written. The age of a moment is known in the first four; in the others, day and month cannot be told apart."""

    ISO = "iso 8601"
    YEAR_FIRST = "year/month/day"
    EPOCH_SECONDS = "seconds since 1970"
    EPOCH_MILLISECONDS = "milliseconds since 1970"
    SLASHED = "1/2/2000"
    DOTTED = "1.2.2000"


class Chars(StrEnum):
    """The classes of characters that texts are made of."""

    LOWER = "lower"
    UPPER = "upper"
    DIGIT = "digit"
    SPACE = "space"
    MARK = "mark"
    CONTROL = "control"
    BEYOND_ASCII = "beyond_ascii"


class MissingKind(StrEnum):
    """In what guise a value was missing: null, not a number, infinite, text in the place of a number, or an empty text.

    An empty text is counted here and is a text all the same.
    """

    NULL = "null"
    NAN = "nan"
    INFINITE = "infinite"
    TEXT = "text"
    EMPTY = "empty"


class Origin(StrEnum):
    """What a profile was learned from: reference data, or recorded traffic, which a person must approve."""

    DATA = "data"
    TRAFFIC = "traffic"


class Method(StrEnum):
    """Where a bound comes from.

    `gpd`: a generalised-Pareto tail carried to the false-alarm budget. `structural`: the sign class. `domain`: the
    extreme is a mass point (1 % of the rows or more), so nothing is added to it. `growth`: the extreme kept moving
    through the file, so the bound allows the same growth again. `widened`: the held-back rows asked for more room.
    `edited`: a person wrote it.
    """

    GPD = "gpd"
    STRUCTURAL = "structural"
    DOMAIN = "domain"
    GROWTH = "growth"
    WIDENED = "widened"
    EDITED = "edited"


NUMERIC: Final = frozenset({FieldKind.NUMBER, FieldKind.INTEGER})
"""The kinds that carry bounds, moments and knots."""


@dataclass(frozen=True, slots=True)
class FieldProfile:
    """What was learned of one field.

    `low` and `high` are inclusive bounds, None where that side is open; `alpha` is the false-alarm budget of one side.
    `domain` lists the values when they are few, and `closed` says that any other value is a violation; `unseen_mass`
    is the Good-Turing estimate of the share of values not seen yet. `top` are the commonest values with their
    counts. `minimum` to `std` and `knots` (the percentiles KNOTS, or empty) describe numbers. A `constant` keeps its value as a
    domain of one, never enforced. `note` is for the reader.

    `sentinels` are numbers that stand for a missing value (-999), with their counts: no bound is stretched to reach them, and
    they are inside. `missing_kinds` says in what guise values were missing.

    `min_length` and `max_length` bound texts in characters and arrays in members. Of texts, `charset` names the classes of
    characters that may occur (empty: any) and `pattern` the one form they have: `A` is a letter, `9` a digit, `+` after either
    says one or more, every other character stands for itself, behind a backslash where it is `+` or a backslash;
    `pattern_coverage` is the share of texts that had it. Both are only there when they are enforced.

    Of timestamps, `formats` are the forms allowed, the commonest first, and `low` and `high` bound the lag: by how many seconds
    the moment lies before its row's time (before its request, when it is checked). Without a time column there is no such bound.
    Of arrays, `low` and `high` bound each member, `norm_low` and `norm_high` the Euclidean norm.

    `cells` is how the field's values are counted in live traffic, None for fields that are not counted.
    """

    name: str
    kind: FieldKind
    role: Role = Role.FEATURE
    rows: int = 0
    missing_rate: float = 0.0
    required: bool = False
    low: float | None = None
    high: float | None = None
    low_method: Method | None = None
    high_method: Method | None = None
    alpha: float = 0.0
    whole: bool = False
    sign: Sign = Sign.ANY
    domain: tuple[Cell, ...] | None = None
    closed: bool = False
    unseen_mass: float | None = None
    distinct: int = 0
    top: tuple[tuple[Cell, int], ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    knots: tuple[float, ...] = ()
    min_length: int | None = None
    max_length: int | None = None
    charset: tuple[Chars, ...] = ()
    pattern: str | None = None
    pattern_coverage: float | None = None
    formats: tuple[TimeForm, ...] = ()
    norm_low: float | None = None
    norm_high: float | None = None
    missing_kinds: tuple[tuple[MissingKind, int], ...] = ()
    sentinels: tuple[tuple[float, int], ...] = ()
    note: str = ""
    cells: Cells | None = None

    @property
    def numeric(self) -> bool:
        """True for fields whose values are numbers with bounds."""
        return self.kind in NUMERIC

    def percentile(self, percent: float) -> float | None:
        """Return the value below which `percent` of the reference values lie, None when the field has no knots.

        Linear between knots; the ends are the minimum and the maximum.
        """
        if len(self.knots) != len(KNOTS) or not 0.0 <= percent <= 100.0:
            return None
        first = self.knots[0] if self.minimum is None else self.minimum
        last = self.knots[-1] if self.maximum is None else self.maximum
        percents, values = (0.0, *KNOTS, 100.0), (first, *self.knots, last)
        right = min(bisect_right(percents, percent), len(percents) - 1)
        left = right - 1
        share = (percent - percents[left]) / (percents[right] - percents[left])
        # The weighted form cannot overflow where a difference of two huge values would.
        return values[left] * (1.0 - share) + values[right] * share

    def stat(self, stat: str) -> float | None:
        """Return `min`, `max`, `mean`, `std` or a percentile such as `p99_9`; None when unknown or not a number."""
        if stat in _MOMENTS:
            value: float | None = getattr(self, _MOMENTS[stat])
            return value
        percent = parse_percentile(stat)
        return None if percent is None else self.percentile(percent)


_MOMENTS: Final = {"min": "minimum", "max": "maximum", "mean": "mean", "std": "std"}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a profile comes from. `file` is a bare name, `learned_at` an RFC 3339 time, `sha256` that of the data."""

    file: str = ""
    rows: int = 0
    learned_at: str = ""
    sha256: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the held-back, most recent rows said of the bounds, which had not seen them.

    `flagged` of `rows` lay outside; `upper` is the Clopper-Pearson upper bound of that share at CONFIDENCE;
    `widened` names the sides that needed more room than their tail gave, such as `temp.high x2`.
    """

    rows: int = 0
    flagged: int = 0
    upper: float = 1.0
    widened: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's approval of a profile of this `version`. `at` is an RFC 3339 time."""

    by: str
    at: str
    version: str


@dataclass(frozen=True, slots=True)
class Profile:
    """All that was learned for one model. `version` is the first 8 hex digits of the SHA-256 of its content.

    `alpha` is the share of clean rows that may be flagged; `features` and `outputs` keep the order of the data. `together`
    lists groups of features that every row either has or lacks as one. `joint` is the check of a row's numbers against each
    other, None where there is none. `approved` is not part of the content that has the version. `notes` are for the reader.
    """

    model: str
    version: str
    rows: int
    alpha: float
    features: Mapping[str, FieldProfile]
    outputs: Mapping[str, FieldProfile] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    provenance: Provenance = Provenance()
    calibration: Calibration | None = None
    output_calibration: Calibration | None = None
    together: tuple[tuple[str, ...], ...] = ()
    joint: "Joint | None" = None
    source: Origin = Origin.DATA
    approved: Approval | None = None
    notes: tuple[str, ...] = ()

    @property
    def acts(self) -> bool:
        """Whether rules may act on it: it was learned from reference data, or a person approved it as it stands."""
        approved = self.approved is not None and self.approved.version == self.version
        return self.source is Origin.DATA or approved

    def field(self, name: str) -> FieldProfile | None:
        """Return the field called `name`: a feature (`temp`, `features.temp`) or an output (`output.demand`)."""
        if name.startswith("output.") and name[7:] in self.outputs:
            return self.outputs[name[7:]]
        if name.startswith("features.") and name[9:] in self.features:
            return self.features[name[9:]]
        return self.features.get(name)

    def stat(self, field: str, stat: str) -> float | None:
        """Return a statistic of a field, such as `stat("output.demand", "p99_9")`; None when there is none."""
        found = self.field(field)
        return None if found is None else found.stat(stat)


def parse_percentile(text: str) -> float | None:
    """Read `p1`, `p50` or `p99_9` as a percentage from 0 to 100; None when it is no percentile."""
    match = _PERCENTILE.fullmatch(text)
    if match is None:
        return None
    percent = float(f"{match[1]}.{match[2] or 0}")
    return percent if percent <= 100.0 else None
