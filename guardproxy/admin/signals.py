"""The Signals page's content: each field's learned band against the last hour and day, and the alarm state in words.

Decides which fields come first and what of the JSON becomes a drawing, a table or a fact. Where the numbers come from is left to
whoever gives them, looks to the template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from guardproxy.admin.cellchart import CellShares, Chart, chart_of
from guardproxy.admin.text import duration

STATES: Final[Mapping[str, str]] = {
    "alarm": "drift",
    "watch": "being watched",
    "quiet": "as learned",
    "warming": "too early to say",
    "unlearned": "not compared",
}
"""What a person reads for each state, the most urgent first."""

MAX_FIELDS: Final = 200
"""Fields drawn of one model; the rest is listed by `guardproxy drift`."""

_SPECIALS: Final[Mapping[str, str]] = {
    "missing": "missing",
    "type": "of another type",
    "below": "below all learned",
    "above": "above all learned",
    "unseen": "never seen before",
    "other": "rare values",
}


@dataclass(frozen=True, slots=True)
class FieldView:
    """One field: its drawing, the table that says the same, and the cells that stand for no value of its own."""

    name: str
    state: str
    words: str
    sentence: str
    chart: Chart | None
    cells: tuple[CellShares, ...]
    specials: tuple[tuple[str, CellShares], ...]
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model with its fields, those that need a look first."""

    model: str
    state: str
    words: str
    sentence: str
    facts: Mapping[str, Any]
    fields: tuple[FieldView, ...]
    left_out: int


def model_views(said: Mapping[str, Any]) -> tuple[ModelView, ...]:
    """Lay out what `AdminServices.signals` gives."""
    return tuple(_model(model) for model in said.get("models", ()))


def _model(said: Mapping[str, Any]) -> ModelView:
    order = list(STATES)
    fields = sorted(
        (_field(each) for each in said.get("fields", ())), key=lambda each: order.index(each.state)
    )
    facts = {key: said[key] for key in ("profile", "profile_state", "rows") if said.get(key) is not None}
    if said.get("age_s") is not None:
        facts["counted"] = f"{duration(float(said['age_s']))} ago"
    state = _state(said)
    return ModelView(
        model=str(said.get("model", "")),
        state=state,
        words=STATES[state],
        sentence=str(said.get("sentence") or ""),
        facts=facts,
        fields=tuple(fields[:MAX_FIELDS]),
        left_out=max(0, len(fields) - MAX_FIELDS),
    )


def _field(said: Mapping[str, Any]) -> FieldView:
    cells = [_cell(each) for each in said.get("cells", ())]
    ordered = int(said.get("ordered", 0))
    count = len(cells) - int(said.get("specials", 0))
    own, special = cells[:count], cells[count:]
    state = _state(said)
    return FieldView(
        name=str(said.get("field", "")),
        state=state,
        words=STATES[state],
        sentence=str(said.get("sentence") or ""),
        chart=chart_of(own, ordered=bool(ordered)),
        cells=tuple(own),
        specials=tuple((_SPECIALS[cell.name], cell) for cell in special if cell.name in _SPECIALS),
        rows={str(key): int(value) for key, value in (said.get("rows") or {}).items()},
    )


def _cell(said: Mapping[str, Any]) -> CellShares:
    return CellShares(
        str(said["cell"]),
        float(said["learned"]),
        float(said["low"]),
        float(said["high"]),
        _share(said.get("1h")),
        _share(said.get("24h")),
        bool(said.get("outside")),
    )


def _share(said: Any) -> float | None:
    return None if said is None else float(said)


def _state(said: Mapping[str, Any]) -> str:
    state = str(said.get("state", "unlearned"))
    return state if state in STATES else "unlearned"


def summary_of(views: Sequence[ModelView]) -> str:
    """Say in a sentence how many fields drift, for the page's head."""
    drifting = sum(field.state == "alarm" for view in views for field in view.fields)
    watched = sum(field.state == "watch" for view in views for field in view.fields)
    if drifting:
        return f"{drifting} field{'s drift' if drifting > 1 else ' drifts'}" + (
            f", {watched} being watched" if watched else ""
        )
    return f"nothing drifts, {watched} being watched" if watched else "nothing drifts"
