"""Ranked labels: for each row a list of pairs [label, score], as TensorFlow Serving classifies.

Decides which fields they are: the `label` and the `score` of the highest score, and all `scores` in the order given.
"""

from typing import Any

from guardproxy.codecs.cells import NUMBERS_OR_MISSING
from guardproxy.codecs.predictions import Field, misaligned


def is_ranked(located: Any) -> bool:
    """Tell whether every item of an array is a list of pairs [label, score]."""
    return type(located) is list and bool(located) and all(map(_is_ranking, located))


def ranked_fields(located: list[list[list[Any]]], rows: int) -> list[Field]:
    """Return the fields of ranked labels: the best label, its score and all scores. Raises UnalignedError."""
    if len(located) != rows:
        raise misaligned(len(located), rows)
    best = [max(range(len(pairs)), key=lambda at, pairs=pairs: _rank(pairs[at][1])) for pairs in located]  # type: ignore[misc]
    return [
        Field(
            "label",
            [pairs[at][0] for pairs, at in zip(located, best, strict=True)],
            lambda row: [(row, best[row], 0)],
        ),
        Field(
            "score",
            [pairs[at][1] for pairs, at in zip(located, best, strict=True)],
            lambda row: [(row, best[row], 1)],
        ),
        Field(
            "scores",
            [[pair[1] for pair in pairs] for pairs in located],
            lambda row: [(row, at, 1) for at in range(len(located[row]))],
        ),
    ]


def _is_ranking(pairs: Any) -> bool:
    return (
        type(pairs) is list
        and bool(pairs)
        and all(
            type(pair) is list
            and len(pair) == 2
            and type(pair[0]) is str
            and type(pair[1]) in NUMBERS_OR_MISSING
            for pair in pairs
        )
    )


def _rank(score: float | None) -> float:
    return score if score is not None and score == score else float("-inf")
