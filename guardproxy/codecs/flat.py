"""Flat values with a shape beside them, as Seldon's tensors are.

Decides which values are a row, and where a row's values stand. What a shape may be is left to `tensors`.
"""

from typing import Any

import numpy as np

from guardproxy.codecs.names import PREDICTION
from guardproxy.codecs.predictions import Field, leaf_paths, misaligned


def flat_rows(values: Any, rows: int, width: int) -> Any:
    """Return flat values as an array of `rows` rows; a row of one value is that value."""
    if isinstance(values, np.ndarray):
        return values if width == 1 else values.reshape(rows, width)
    return values if width == 1 else [values[at : at + width] for at in range(0, rows * width, width)]


def flat_fields(values: Any, own: int, width: int, rows: int) -> list[Field]:
    """Return the prediction field of flat values that are `own` rows of `width` values. Raises UnalignedError."""
    listed: list[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    if own != rows:
        if rows == 1 and listed:
            return [Field(PREDICTION, [listed], lambda _row: leaf_paths(listed, ()))]
        raise misaligned(own, rows)
    return [
        Field(
            PREDICTION,
            flat_rows(listed, own, width),
            lambda row: [(at,) for at in range(row * width, row * width + width)],
        )
    ]
