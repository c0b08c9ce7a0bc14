"""The ways in which the demo's model can be made to answer nonsense.

Decides what each kind does to one row's answer. Which rows get which kind is left to the scenario.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

from guardproxy.demo.dataset import TARGET
from guardproxy.demo.model import Floats

Answer = dict[str, float]
"""One row of the model's outputs: departures, p10, p90."""

KINDS: Final[Mapping[str, Callable[[Answer], Answer]]] = {
    "negative": lambda answer: {name: -10 * value - 1 for name, value in answer.items()},
    "times-1000": lambda answer: {name: 1000 * value for name, value in answer.items()},
    "nan": lambda answer: answer | {TARGET: math.nan},
    "swapped": lambda answer: answer | {"p10": answer["p90"], "p90": answer["p10"]},
    "too-wide": lambda answer: answer | {"p90": 40 * answer["p90"] + 100},
    "collapsed": lambda answer: {name: 0.3 * value for name, value in answer.items()},
}
"""What each kind makes of an honest answer."""


def spoil(answers: Mapping[str, Floats], rows: int, nonsense: Mapping[int, str]) -> dict[str, Floats]:
    """Put nonsense in place of the named rows' answers; `nonsense` maps a row to a kind. Others stay as they are."""
    spoilt = {name: column.copy() for name, column in answers.items()}
    for row, kind in nonsense.items():
        if row < rows:
            honest = {name: float(column[row]) for name, column in answers.items()}
            for name, value in KINDS[kind](honest).items():
                spoilt[name][row] = value
    return spoilt
