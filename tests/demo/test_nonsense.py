"""Each kind of nonsense is nonsense, and touches no other row."""

import math

import numpy as np
import pytest

from guardproxy.demo.nonsense import KINDS, spoil

HONEST = {"departures": 23.0, "p10": 19.0, "p90": 27.0}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_changes_the_answer(kind: str) -> None:
    said = KINDS[kind](HONEST)
    assert set(said) == set(HONEST)
    assert any(not math.isclose(said[name], value) for name, value in HONEST.items())


def test_the_kinds_are_what_they_are_called() -> None:
    said = {kind: change(HONEST) for kind, change in KINDS.items()}
    assert max(said["negative"].values()) < 0
    assert said["times-1000"]["departures"] == 23_000
    assert math.isnan(said["nan"]["departures"])
    assert said["swapped"]["p10"] > said["swapped"]["p90"]
    assert said["too-wide"]["p90"] > 1000
    assert said["collapsed"]["p10"] <= said["collapsed"]["departures"] <= said["collapsed"]["p90"]


def test_only_the_named_rows_are_spoilt_and_rows_beyond_the_end_are_nobody() -> None:
    honest = {name: np.array([value, value, value]) for name, value in HONEST.items()}
    said = spoil(honest, 3, {1: "negative", 7: "nan"})
    for name, value in HONEST.items():
        assert said[name][[0, 2]].tolist() == [value, value]
        assert said[name][1] < 0
        assert honest[name].tolist() == [value] * 3


def test_a_model_without_nonsense_is_honest() -> None:
    honest = {name: np.array([value]) for name, value in HONEST.items()}
    assert spoil(honest, 1, {}) == honest
