"""Real data, a real model: what gradient boosting answers below zero by itself is replaced, and nothing else.

Learned on the first 7,000 hours; the model then forecasts every later hour, batch by batch, as MLflow would be asked.
"""

import csv
import json
from typing import Any

import numpy as np
import pytest

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.decision import Decision, Outcome
from guardproxy.guard import Guard, screen_request, screen_response
from guardproxy.message import Message
from guardproxy.profile.columns import NumberColumn
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import Profile, Provenance
from guardproxy.proxy.facts import facts_at
from guardproxy.rules import load_rulesets
from tests.shared import shared_file

FEATURES = (
    "season", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed",
)  # fmt: skip
TRAINED = 7_000
BATCH = 1_000
RULES = """\
guardproxy: 1
model: bike-hires
owner: operations
rules:
  - id: no-negative-hires
    range: {field: output.cnt, min: 0}
    action: fallback
    fallback: [{value: 0}]
"""


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    path = shared_file("data/bike_hour.csv")
    with path.open(newline="") as file:
        return [
            {name: None if text in {"", "NA"} else text for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def table(rows: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(
        [
            [float(row[name]) if row[name] is not None else np.nan for name in (*FEATURES, "cnt")]
            for row in rows
        ]
    )


@pytest.fixture(scope="module")
def predictions(table: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(random_state=0).fit(table[:TRAINED, :-1], table[:TRAINED, -1])
    return np.asarray(model.predict(table[TRAINED:, :-1]), dtype=np.float64)


@pytest.fixture(scope="module")
def profile(table: np.ndarray[Any, np.dtype[np.float64]]) -> Profile:
    learner = Learner("bike-hires", rng=np.random.default_rng(0), target=("cnt",))
    learner.update({name: NumberColumn(table[:TRAINED, i]) for i, name in enumerate((*FEATURES, "cnt"))})
    return learner.finish(Provenance())


def test_exactly_the_rows_that_the_model_forecasts_below_zero_are_replaced(
    table: np.ndarray[Any, np.dtype[np.float64]],
    predictions: np.ndarray[Any, np.dtype[np.float64]],
    profile: Profile,
) -> None:
    rulesets, problems = load_rulesets({"bike.guard.yaml": RULES}, profiles={"bike-hires": profile})
    assert problems == []
    codec = make_codec("mlflow", CodecOptions(outputs=("cnt",)))
    guard = Guard("bike-hires", codec, rulesets["bike-hires"], profile)
    negative = replaced = 0
    for start in range(0, len(predictions), BATCH):
        part = predictions[start : start + BATCH].tolist()
        features = table[TRAINED + start : TRAINED + start + BATCH, :-1].tolist()
        answer = json.dumps({"predictions": part}).encode()
        decision = _screened(guard, features, answer)
        below = [row for row, value in enumerate(part) if value < 0]
        assert np.flatnonzero(decision.outcomes == Outcome.REPLACED).tolist() == below
        served = codec.splice(Message(answer), len(part), decision.patch).body
        texts = [json.dumps(value) if value >= 0 else "0" for value in part]
        assert _like(served, texts)
        negative += len(below)
        replaced += len(decision.patch)
    assert negative == replaced
    assert negative > 10, "the model forecasts no negative demand by itself"


def _screened(guard: Guard, features: list[list[float]], answer: bytes) -> Decision:
    request = json.dumps({"dataframe_split": {"columns": list(FEATURES), "data": features}}).encode()
    screening = screen_request(guard, Message(request), facts_at(1_700_000_000.0))
    return screen_response(guard, screening, Message(answer)).decision


def _like(served: bytes, texts: list[str]) -> bool:
    """Every text stands where it stood; a replaced one may say 0 as 0.0."""
    found = served.decode().removeprefix('{"predictions": [').removesuffix("]}").split(", ")
    return len(found) == len(texts) and all(
        a == b or (b == "0" and float(a) == 0) for a, b in zip(found, texts, strict=True)
    )
