"""The demo's model: a forecast of hourly departures with an interval, by gradient-boosted trees.

Decides how the forecast is made. It is an honest model, trained in seconds, that copes with missing values by
itself; what it is served over, and how it is made to answer nonsense, is left to `model_server`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guardproxy.demo.dataset import AIRPORTS, FEATURES, INSTALL_HINT, TARGET
from guardproxy.demo.errors import DemoError

OUTPUTS: Final = (TARGET, "p10", "p90")
"""What the model answers: the expected departures and the interval that four hours in five fall into."""

_QUANTILES: Final[Mapping[str, float]] = {"p10": 0.1, "p90": 0.9}
# Small on purpose: more trees gain nothing that a viewer would see and cost start-up time.
_TREES: Final[Mapping[str, object]] = {
    "max_iter": 60,
    "learning_rate": 0.15,
    "max_leaf_nodes": 24,
    "random_state": 13,
}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecaster:
    """A trained model: one ensemble for the expected departures, and one per end of the interval around them."""

    middle: Any
    ends: Mapping[str, Any]

    def predict(self, columns: Mapping[str, Sequence[Any] | Floats], rows: int) -> dict[str, Floats]:
        """Forecast `rows` rows; a feature that is not given is missing. Returns an array of shape (rows,) per output.

        A count is never negative and an interval never excludes its own forecast, so both are made so.
        """
        matrix = feature_matrix(columns, rows)
        middle = self.middle.predict(matrix)
        ends = {name: np.maximum(middle + model.predict(matrix), 0.0) for name, model in self.ends.items()}
        return {
            TARGET: middle,
            "p10": np.minimum(ends["p10"], middle),
            "p90": np.maximum(ends["p90"], middle),
        }


def train(columns: Mapping[str, Sequence[Any] | Floats]) -> Forecaster:
    """Fit the ensembles to the columns of `dataset.read_csv`. Raises DemoError when scikit-learn is not installed.

    The interval's ends are quantiles of what the middle leaves over, for a quantile loss on the counts themselves is
    stuck: with a tenth of the hours at zero it begins at zero, where no split gains anything.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError as error:
        raise DemoError(f"the demo's model needs scikit-learn; {INSTALL_HINT}") from error
    target = np.asarray(columns[TARGET], dtype=np.float64)
    matrix = feature_matrix(columns, len(target))
    # The Poisson loss forecasts through an exponential, so the middle is positive by itself.
    middle = HistGradientBoostingRegressor(categorical_features=[0], loss="poisson", **_TREES).fit(
        matrix, target
    )
    left = target - middle.predict(matrix)
    ends = {
        name: HistGradientBoostingRegressor(
            categorical_features=[0], loss="quantile", quantile=quantile, **_TREES
        ).fit(matrix, left)
        for name, quantile in _QUANTILES.items()
    }
    return Forecaster(middle, ends)


def feature_matrix(columns: Mapping[str, Sequence[Any] | Floats], rows: int) -> Floats:
    """Put the features side by side in the model's order, shape (rows, features), NaN for missing or unknown."""
    matrix = np.full((rows, len(FEATURES)), np.nan)
    codes = {name: float(code) for code, name in enumerate(AIRPORTS)}
    for position, name in enumerate(FEATURES):
        if name in columns:
            cells = columns[name]
            matrix[:, position] = [codes.get(c, np.nan) for c in cells] if name == "airport" else cells
    return matrix
