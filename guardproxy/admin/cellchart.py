"""A field's cells as a drawing: what was learned of each beside the last hour and the last day. Positions only.

Decides the scale and which labels find room. Colours and words are left to the template; the table beside the drawing says the
same in numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from guardproxy.admin.text import visible

WIDTH: Final = 600.0
HEIGHT: Final = 136.0
_LEFT: Final = 62.0
_RIGHT: Final = 592.0
_TOP: Final = 14.0
_BOTTOM: Final = 110.0
_GAP: Final = 3.0
_CHARACTER: Final = 6.4
"""About how wide a character of a label is."""
_NARROW: Final = 10.5
"""About how wide it is on a narrow screen, where the drawing shrinks and its labels do not."""
_STEPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)


class CellShares(NamedTuple):
    """One cell's shares of the rows, each from 0 to 1: learned, its band, and the last hour and day (None: no rows).

    `outside` says that the last hour lies outside the band by more than so few rows do by chance.
    """

    name: str
    learned: float
    low: float
    high: float
    hour: float | None
    day: float | None
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One cell's place: the band's top and height, heights of the learned share, the day and the hour (None: no rows)."""

    x: float
    width: float
    middle: float
    band_y: float
    band_height: float
    learned_y: float
    day_y: float | None
    hour_y: float | None
    outside: bool


class Label(NamedTuple):
    """A text at a place."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Where everything stands on a drawing WIDTH by HEIGHT. `rules` are the heights of the lines with their shares; `crowded` says
    that the labels do not all find room on a narrow screen."""

    columns: tuple[Column, ...]
    rules: tuple[Label, ...]
    labels: tuple[Label, ...]
    crowded: bool = False
    bottom: float = _BOTTOM
    left: float = _LEFT
    right: float = _RIGHT


def chart_of(cells: Sequence[CellShares], *, ordered: bool) -> Chart | None:
    """Lay cells out side by side; None when there are none. Of cells in order only the ends and the middle are labelled."""
    if not cells:
        return None
    shares = [
        share for cell in cells for share in (cell.high, cell.learned, cell.hour or 0.0, cell.day or 0.0)
    ]
    top = next((step for step in _STEPS if step >= max(shares)), 1.0)
    step = (_RIGHT - _LEFT) / len(cells)

    def height(share: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * min(max(share / top, 0.0), 1.0), 2)

    def column(place: int, cell: CellShares) -> Column:
        x = _LEFT + step * place + _GAP / 2
        return Column(
            x=round(x, 2),
            width=round(step - _GAP, 2),
            middle=round(x + (step - _GAP) / 2, 2),
            band_y=height(cell.high),
            band_height=round(max(height(cell.low) - height(cell.high), 1.0), 2),
            learned_y=height(cell.learned),
            day_y=None if cell.day is None else height(cell.day),
            hour_y=None if cell.hour is None else height(cell.hour),
            outside=cell.outside,
        )

    columns = tuple(column(place, cell) for place, cell in enumerate(cells))
    rules = tuple(
        Label(_LEFT - 6, height(share), f"{share * 100:.3g} %", "end") for share in (0.0, top / 2, top)
    )
    labels = _labels(cells, columns, step, ordered)
    return Chart(columns, rules, labels, _crowded(labels, _RIGHT - _LEFT if ordered else step))


def _crowded(labels: Sequence[Label], room: float) -> bool:
    """Tell whether labels overlap on a narrow screen: those under an axis share `room`, those of columns have it each."""
    wide = [len(label.text) * _NARROW for label in labels]
    return (sum(wide) if labels and labels[0].anchor == "start" else max(wide, default=0.0)) > room


def _labels(
    cells: Sequence[CellShares], columns: Sequence[Column], step: float, ordered: bool
) -> tuple[Label, ...]:
    under = _BOTTOM + 19
    if not ordered:
        room = int(step / _CHARACTER)
        if room < 3:
            return ()
        pairs = zip(cells, columns, strict=True)
        return tuple(
            Label(each.middle, under, visible(cell.name, room - 1), "middle") for cell, each in pairs
        )
    # An interval is called `3 to 4`: its ends stand under the edges of its column.
    first, last = cells[0].name.partition(" to ")[0], cells[-1].name.rpartition(" to ")[2]
    found = [
        Label(columns[0].x, under, first, "start"),
        Label(columns[-1].x + columns[-1].width, under, last, "end"),
    ]
    if len(cells) > 2:
        half = len(cells) // 2
        found.insert(1, Label(columns[half].x, under, cells[half].name.partition(" to ")[0], "middle"))
    return tuple(found)
