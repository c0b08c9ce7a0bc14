"""Columns as tests write them."""

from collections.abc import Iterable

import numpy as np

from guardproxy.profile.columns import TextColumn


def text_column(cells: Iterable[str | None], *, literal: bool = False) -> TextColumn:
    """Build a text column from cells."""
    seen: dict[str, int] = {}
    codes = [-1 if cell is None else seen.setdefault(cell, len(seen)) for cell in cells]
    return TextColumn(np.array(codes, dtype=np.int32), tuple(seen), literal)
