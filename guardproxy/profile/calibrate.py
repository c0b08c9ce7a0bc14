"""The held-back rows against the bounds: how many lie outside, and which bound to loosen.

Decides when the held-back rows agree with the bounds, and how much room each fact that they break is given. Fitting again with that
room is left to `learn` and `fit`.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from guardproxy.profile.bounds import Slack
from guardproxy.profile.check import compile_check
from guardproxy.profile.columns import ArrayColumn, Column, NumberColumn, cells_of, number_text
from guardproxy.profile.limits import Position
from guardproxy.profile.model import CONFIDENCE, FieldKind, FieldProfile
from guardproxy.profile.state import Span, unix_seconds_of
from guardproxy.profile.tails import share_upper_bound
from guardproxy.table import Cell, Floats, Mask, Table, table_from_columns


class Held:
    """The held-back rows as tables, with the Unix seconds of each row."""

    def __init__(self, spans: Iterable[Span], time: str | None, fields: Mapping[str, FieldProfile]) -> None:
        self._tables: list[tuple[Table, Floats]] = [
            (_table(span, fields), unix_seconds_of(span.at, time)) for span in spans
        ]
        self.rows = sum(table.rows for table, _ in self._tables)

    def flagged(self, fields: Mapping[str, FieldProfile]) -> tuple[Mask, dict[str, set[Position]]]:
        """Return which rows lie outside what `fields` allow, and which positions each field was found in."""
        check = compile_check(fields)
        flagged = np.zeros(self.rows, dtype=np.bool_)
        broken: dict[str, set[Position]] = {}
        first = 0
        for table, times in self._tables:
            bound = check.bind(table.fields)
            codes = bound.outside(table, times)
            first += table.rows
            if codes is None:
                continue
            flagged[first - table.rows : first] = codes.any(axis=0)
            for name, row in zip(bound.fields, codes, strict=True):
                found = {Position(int(code)) for code in np.unique(row)} - {Position.INSIDE}
                if found:
                    broken.setdefault(name, set()).update(found)
        return flagged, broken


def acceptable(flagged: int, rows: int, alpha: float) -> bool:
    """Decide whether the held-back rows agree with the bounds.

    With enough rows the share's upper bound must be within alpha; with fewer, where not even zero flagged rows
    could prove that, the counted share must be.
    """
    if share_upper_bound(0, rows, CONFIDENCE) <= alpha:
        return share_upper_bound(flagged, rows, CONFIDENCE) <= alpha
    return flagged <= int(alpha * rows)


def loosened(slack: Mapping[str, Slack], broken: Mapping[str, set[Position]]) -> dict[str, Slack]:
    """Return the room of every field, with more where held-back rows lay outside."""
    looser = dict(slack)
    for name, positions in broken.items():
        now = looser.get(name, Slack())
        looser[name] = Slack(
            low=now.low + bool(positions & {Position.BELOW, Position.TOO_RECENT}),
            high=now.high + bool(positions & {Position.ABOVE, Position.TOO_OLD}),
            length=now.length + (Position.TOO_LONG in positions),
            short=now.short + (Position.TOO_SHORT in positions),
            norm=now.norm + bool(positions & {Position.NORM_BELOW, Position.NORM_ABOVE}),
            opened=now.opened or Position.UNSEEN in positions,
            optional=now.optional or bool(positions & {Position.MISSING, Position.ABSENT}),
            fractional=now.fractional or Position.NOT_WHOLE in positions,
            formless=now.formless or bool(positions & {Position.CHARACTERS, Position.PATTERN}),
        )
    return looser


def described(slack: Mapping[str, Slack]) -> tuple[str, ...]:
    """Say which bounds were given room, such as `temp.high x2`."""
    words: list[str] = []
    for name, room in slack.items():
        sides: Sequence[tuple[str, int]] = (
            ("low", room.low),
            ("high", room.high),
            ("length", room.length),
            ("min_length", room.short),
            ("norm", room.norm),
        )
        words += [f"{name}.{side} x{2**times}" for side, times in sides if times]
        facts = (
            ("set opened", room.opened),
            ("may be missing", room.optional),
            ("fractions", room.fractional),
            ("any characters", room.formless),
        )
        words += [f"{name} {fact}" for fact, given in facts if given]
    return tuple(words)


def _table(span: Span, fields: Mapping[str, FieldProfile]) -> Table:
    return table_from_columns({name: _cells(span.columns[name], fields[name]) for name in fields}, span.rows)


def _cells(column: Column, profile: FieldProfile) -> tuple[Cell, ...]:
    """Return cells as a client would send them: stray texts of a number field are missing, yes and no are booleans."""
    cells = cells_of(column)
    if isinstance(column, ArrayColumn):
        return cells
    if profile.kind in {FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.IDENTIFIER}:
        if isinstance(column, NumberColumn):
            return cells
        return tuple(cell if isinstance(cell, float) else None for cell in cells)
    if profile.kind is FieldKind.BOOLEAN:
        return tuple(cell.lower() == "true" if isinstance(cell, str) else cell for cell in cells)
    if profile.kind in {FieldKind.CATEGORY, FieldKind.TEXT}:
        return tuple(number_text(cell) if isinstance(cell, float) else cell for cell in cells)
    return cells
