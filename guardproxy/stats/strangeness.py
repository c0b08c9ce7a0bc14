"""How far a model's answers commonly lie from what is usual of their entities, and which estimate of them errs least.

Decides the limit beyond which an answer is unusual (a quantile of what was seen lately), what share of gross errors that
limit would show, and which fallback `auto` takes. All of it is of one process: another replica learns its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from guardproxy.rules.past import distances, signed_log
from guardproxy.stats.entity import Expected
from guardproxy.stats.sketch import ACCURACY, Sketch
from guardproxy.table import Floats

MIN_SCORES: Final = 1_000
"""Answers of known entities before anything is called unusual."""
GENERATION: Final = 50_000
"""Answers after which the older half of what was seen is forgotten."""
MIN_SCORED: Final = 100
"""Answers before `auto` takes what erred least; until then it takes the median of the three."""
ESTIMATES: Final[Mapping[str, str]] = MappingProxyType(
    {"last_good": "last", "rolling_median": "median", "seasonal": "seasonal", "median_of_three": "usual"}
)
"""What may stand in for an answer, each with what `Expected` calls it."""
DEFAULT_ESTIMATE: Final = "median_of_three"
_MEMORY: Final = 10_000.0
_FAULTS: Final = {"x10": 10.0, "/10": 0.1, "zero": 0.0}
"""The gross errors by which the power of a limit is told, each with what the answer is multiplied by."""


@dataclass(slots=True)
class _Generation:
    """Distances of answers, and of the same answers with each gross error."""

    count: int = 0
    seen: Sketch = field(default_factory=Sketch)
    faults: dict[str, Sketch] = field(default_factory=lambda: {name: Sketch() for name in _FAULTS})


class Strangeness:
    """The distances of one output's answers: at least the last GENERATION of them, at most twice as many."""

    def __init__(self) -> None:
        """Start without any."""
        self._errors = 0.0
        self._scored = 0.0
        self._now = _Generation()
        self._before = _Generation()
        self._limits: dict[float, float] = {}

    @property
    def count(self) -> int:
        """How many answers are remembered."""
        return self._now.count + self._before.count

    @property
    def common(self) -> float:
        """The mean size, in `signed_log`, of how far answers lie from what is usual of their entities.

        It is added to each entity's own spread: an entity that was very steady so far would else be called unusual at
        the first small step, and the limit for all would have to make room for that.
        """
        return self._errors / self._scored if self._scored else 0.0

    def add(self, values: Floats, expected: Expected) -> None:
        """Add answers beside what was expected of their entities; those of which too little is known are left out."""
        known = np.isfinite(expected.spread)
        if not known.any():
            return
        values, usual = values[known], expected.usual[known]
        self._errors += float(np.abs(signed_log(values) - signed_log(usual)).sum())
        self._scored += len(values)
        if self._scored >= GENERATION:
            self._errors, self._scored = self._errors / 2, self._scored / 2
        spread = expected.spread[known] + self.common
        if self._now.count >= GENERATION:
            self._now, self._before = _Generation(), self._now
        self._now.count += len(values)
        self._now.seen.add(distances(values, usual, spread))
        for name, factor in _FAULTS.items():
            self._now.faults[name].add(distances(values * factor, usual, spread))
        self._limits.clear()

    def limit(self, false_alarms: float) -> float | None:
        """Return the distance that a share of `false_alarms` exceeds; None below MIN_SCORES answers.

        A sketch is right within ACCURACY, so that the limit is taken by as much too high: rather a false alarm less.
        """
        if self.count < MIN_SCORES:
            return None
        found = self._limits.get(false_alarms)
        if found is None:
            whole = _joined(self._before.seen, self._now.seen)
            found = (whole.quantile(1.0 - false_alarms) or 0.0) * (1.0 + ACCURACY)
            self._limits[false_alarms] = found
        return found

    def power(self, false_alarms: float) -> dict[str, float] | None:
        """Return the share of each gross error that lies beyond the limit; None while there is none."""
        limit = self.limit(false_alarms)
        if limit is None:
            return None
        return {
            name: 1.0 - _joined(self._before.faults[name], self._now.faults[name]).share_up_to(limit)
            for name in _FAULTS
        }


class Errors:
    """The running errors of the estimates of one output: the sum of their sizes, beside that of the answers."""

    def __init__(self) -> None:
        """Start without any."""
        self.count = 0.0
        self.answers = 0.0
        self.sums: dict[str, float] = dict.fromkeys(ESTIMATES, 0.0)

    def add(self, values: Floats, expected: Expected) -> None:
        """Add answers beside what was expected of them, where all estimates have something to say."""
        known = np.isfinite(expected.seasonal) & np.isfinite(expected.last)
        if not known.any():
            return
        self.count += int(np.count_nonzero(known))
        self.answers += float(np.abs(values[known]).sum())
        for name, attribute in ESTIMATES.items():
            self.sums[name] += float(np.abs(values[known] - getattr(expected, attribute)[known]).sum())
        if self.count >= _MEMORY:
            self.count /= 2
            self.answers /= 2
            self.sums = {name: total / 2 for name, total in self.sums.items()}

    def best(self) -> str:
        """Return the estimate that erred least; the median of the three below MIN_SCORED answers."""
        if self.count < MIN_SCORED:
            return DEFAULT_ESTIMATE
        return min(self.sums, key=lambda name: self.sums[name])

    def wape(self) -> dict[str, float] | None:
        """Return each estimate's errors as a share of the answers; None below MIN_SCORED answers."""
        if self.count < MIN_SCORED or not self.answers:
            return None
        return {name: total / self.answers for name, total in self.sums.items()}

    def as_json(self) -> dict[str, Any]:
        """Return what `auto` takes, and the errors it was chosen by."""
        return {"auto": self.best(), "scored": int(self.count), "wape": self.wape()}


def _joined(one: Sketch, other: Sketch) -> Sketch:
    whole = Sketch()
    whole.merge(one)
    whole.merge(other)
    return whole
