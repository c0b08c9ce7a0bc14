"""What the demo plays: five phases of traffic, each with what must become of its rows.

Decides the requests and the expectation for every row that is not ordinary. Sending them is left to `play`, judging
what came back to `promises`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from guardproxy.demo.dataset import Dataset
from guardproxy.demo.nonsense import KINDS
from guardproxy.demo.traffic import (
    Record,
    Spelling,
    in_kelvin,
    in_pascal,
    infer_body,
    shifted_weather,
    without_weather,
)

NORMAL_DAYS: Final = 14
BUSY: Final = 20
"""An hour with at least so many scheduled departures is busy; the rule file says the same."""

NONSENSE_OUTCOMES: Final[Mapping[str, str]] = {
    "negative": "replaced",
    "times-1000": "replaced",
    "nan": "replaced",
    "swapped": "replaced",
    "too-wide": "clamped",
    "collapsed": "held",
}
"""What the rules make of each kind of nonsense: `departures.guard.yaml` says so."""

CHANGED_OUTCOMES: Final = frozenset({"clamped", "replaced"})
"""Outcomes whose rows never carry the model's own bytes; a held row does or does not, as its rule says."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request.

    `expected` maps the rows that are not ordinary to the outcome they must get, `changed` names the rows in which
    something else than the model's answer must be served. `nonsense` maps rows to the kind the model will talk.
    """

    body: bytes
    rows: int
    expected: Mapping[int, str] = field(default_factory=dict)
    changed: frozenset[int] = frozenset()
    nonsense: Mapping[int, str] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether the whole request must be refused before the model is asked."""
        return "rejected" in self.expected.values()


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of traffic with a name, a sentence about what is wrong, and one about what should come of it."""

    key: str
    title: str
    about: str
    hope: str
    steps: tuple[Step, ...]

    @property
    def rows(self) -> int:
        """How many rows are sent in all."""
        return sum(step.rows for step in self.steps)


def phases(production: Dataset) -> tuple[Phase, ...]:
    """Return all that is played, from the days after those that were learned."""
    days = [list(production.days_from(day, 1).records()) for day in range(NORMAL_DAYS + 19)]
    return (
        _normal(days[:NORMAL_DAYS]),
        _unit_error(days[14], days[15]),
        _shifted(days[16]),
        _missing(days[17]),
        _nonsense(days[18], [row for day in days[19:] for row in day]),
    )


def _normal(days: Sequence[Sequence[Record]]) -> Phase:
    batches = [_step(day, f"normal-{number}") for number, day in enumerate(days[:-1])]
    singles = [_step([row], f"normal-single-{number}") for number, row in enumerate(days[-1])]
    return Phase(
        "normal",
        "normal days",
        "Two weeks of October: a batch of 24 hours x 3 airports a day, the last day row by row.",
        "Almost everything passes, byte for byte.",
        (*batches, *singles),
    )


def _unit_error(pascal: Sequence[Record], kelvin: Sequence[Record]) -> Phase:
    """One sender's pressure is in pascal, then one airport's temperature is in kelvin."""
    wrong = [in_pascal(row) for row in pascal]
    refused = [_step(wrong, "pascal", dict.fromkeys(range(len(wrong)), "rejected"))]
    refused += [_step([row], f"pascal-{hour}", {0: "rejected"}) for hour, row in enumerate(wrong[24:27])]
    rows = _where(kelvin, lambda row: row["airport"] == "JFK" and row["temp"] is not None)
    mixed = _altered(kelvin, rows, in_kelvin)
    return Phase(
        "unit",
        "a unit error",
        "A sender reports pressure in pascal; later JFK's thermometer speaks kelvin.",
        "Pascal is refused before the model is asked. Of the kelvin batch only JFK's rows are replaced.",
        (*refused, _step(mixed, "kelvin", dict.fromkeys(rows, "replaced"))),
    )


def _shifted(day: Sequence[Record]) -> Phase:
    rows = _where(day, lambda row: row["airport"] == "LGA" and _telling(row))[6:12]
    others = _where(day, lambda row: row["airport"] == "EWR" and _telling(row))[8:10]
    batch = _step(_altered(day, rows, shifted_weather), "shifted", dict.fromkeys(rows, "held"), rows)
    singles = [_step([shifted_weather(day[row])], f"shifted-{row}", {0: "held"}, [0]) for row in others]
    return Phase(
        "shifted",
        "a shifted column",
        "The weather feed gains a column; for six hours LGA's values land one column too late.",
        "The garbled rows are held for a person, with a fallback meanwhile; the others are untouched.",
        (batch, *singles),
    )


def _missing(day: Sequence[Record]) -> Phase:
    rows = _where(day, lambda row: row["airport"] == "EWR" and _number(row, "hour") < 9)
    wanted = {row: _without_weather_outcome(day[row]) for row in rows}
    batch = _step(_altered(day, rows, without_weather), "missing", wanted)
    singles = [
        _step([without_weather(day[row])], f"missing-{spelling}", {0: wanted[row]}, missing=spelling)
        for row, spelling in ((rows[2], "NaN"), (rows[3], "absent"), (rows[7], "NaN"))
    ]
    return Phase(
        "missing",
        "missing weather",
        "Newark's weather feed is down until nine: as null, as a bare NaN, and left out altogether.",
        "The model copes, so its own bytes are served: quiet hours are marked, busy ones also wait for a person.",
        (batch, *singles),
    )


def _nonsense(day: Sequence[Record], fortnight: Sequence[Record]) -> Phase:
    busy = _where(day, lambda row: _number(row, "scheduled") >= BUSY - 5)
    spread = [busy[place * len(busy) // len(KINDS)] for place in range(len(KINDS))]
    batch = _nonsense_step(day, "nonsense", dict(zip(spread, KINDS, strict=True)))
    far = _where(fortnight, lambda row: _number(row, "scheduled") >= BUSY)
    three = dict(zip((far[5], far[len(far) // 2], far[-5]), ("negative", "times-1000", "nan"), strict=True))
    large = _nonsense_step(fortnight, "nonsense-large", three)
    singles = [
        _nonsense_step([day[row]], f"nonsense-{kind}", {0: kind})
        for row, kind in zip(spread, KINDS, strict=True)
    ]
    return Phase(
        "nonsense",
        "a model talking nonsense",
        f"Less than nothing, x1000, NaN ...: 6 rows of {len(day)}, 3 of {len(fortnight):,} (with real gaps), then alone.",
        "Only the bad rows are replaced, cut or held; every other byte is the model's own.",
        (batch, large, *singles),
    )


def _nonsense_step(rows: Sequence[Record], name: str, nonsense: Mapping[int, str]) -> Step:
    expected = {row: NONSENSE_OUTCOMES[kind] for row, kind in nonsense.items()}
    return _step(rows, name, expected, expected, nonsense=nonsense)


def _step(
    rows: Sequence[Record],
    name: str,
    expected: Mapping[int, str] | None = None,
    changed: Iterable[int] = (),
    *,
    nonsense: Mapping[int, str] | None = None,
    missing: Spelling = "null",
) -> Step:
    # Some real hours have no weather. They are as good a case as those the demo makes up.
    gaps = {place: _without_weather_outcome(row) for place, row in enumerate(rows) if row["temp"] is None}
    expected = gaps | dict(expected or {})
    served = frozenset(changed) | {row for row, outcome in expected.items() if outcome in CHANGED_OUTCOMES}
    return Step(infer_body(rows, name, missing), len(rows), expected, served, nonsense or {})


def _where(rows: Sequence[Record], holds: Callable[[Record], bool]) -> list[int]:
    return [place for place, row in enumerate(rows) if holds(row)]


def _altered(
    rows: Sequence[Record], places: Iterable[int], change: Callable[[Record], dict[str, object]]
) -> list[Record]:
    chosen = frozenset(places)
    return [change(row) if place in chosen else row for place, row in enumerate(rows)]


def _telling(row: Record) -> bool:
    """Whether a shift of the weather shows: with a pressure and some wind, three values land where none can be."""
    return _number(row, "pressure") > 0 and _number(row, "wind_speed") > 3


def _without_weather_outcome(row: Record) -> str:
    return "held" if _number(row, "scheduled") >= BUSY else "warned"


def _number(row: Record, name: str) -> float:
    value = row[name]
    return float(value) if isinstance(value, (int, float)) else -1.0
