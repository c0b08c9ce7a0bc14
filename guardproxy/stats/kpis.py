"""One KPI's tally: its moments, how it is spread, and how often it was below or above what is expected.

Decides what is added up; which exchanges are is left to `windows`.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from guardproxy.profile.limits import Position
from guardproxy.rules.model import Kpi
from guardproxy.stats.sketch import Sketch
from guardproxy.stats.tally import FieldTally
from guardproxy.table import Codes, Floats

QUANTILES: Final = {"p1": 0.01, "p50": 0.5, "p99": 0.99}


@dataclass(slots=True)
class KpiTally:
    """Counts, moments and quantiles of one KPI."""

    kpi: Kpi
    tally: FieldTally = field(default_factory=FieldTally)
    sketch: Sketch = field(default_factory=Sketch)

    def add(self, values: Floats) -> None:
        """Add one stretch of values, NaN where the KPI could not be had."""
        present = int(np.count_nonzero(~np.isnan(values)))
        self.tally.add(values, present, self._positions(values))
        self.sketch.add(values[np.isfinite(values)])

    def merge(self, other: "KpiTally") -> None:
        """Add another tally of the same KPI."""
        self.tally.merge(other.tally)
        self.sketch.merge(other.sketch)

    def as_json(self) -> dict[str, Any]:
        """Return the tally in words."""
        kpi = self.kpi
        quantiles = {name: self._quantile(share) for name, share in QUANTILES.items()}
        said = {"title": kpi.title, "unit": kpi.unit, "low": kpi.low, "high": kpi.high}
        return {**said, **self.tally.as_json(), **quantiles}

    def _quantile(self, share: float) -> float | None:
        """Return a quantile as the sketch knows it, but for what the smallest and the largest value rule out."""
        about = self.sketch.quantile(share)
        return None if about is None else min(max(about, self.tally.low), self.tally.high)

    def _positions(self, values: Floats) -> Codes:
        positions = np.full(len(values), Position.INSIDE, dtype=np.uint8)
        with np.errstate(invalid="ignore"):
            if self.kpi.low is not None:
                positions[values < self.kpi.low] = Position.BELOW
            if self.kpi.high is not None:
                positions[values > self.kpi.high] = Position.ABOVE
        positions[np.isnan(values)] = Position.MISSING
        return positions
