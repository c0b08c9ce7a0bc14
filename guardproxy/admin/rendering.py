"""Templates, static files, and the shapes that tables of counters need.

Decides which filters a template has and how open-ended JSON becomes rows and columns. What goes into a page is left to
`pages`.
"""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from guardproxy.admin import text
from guardproxy.admin.numberline import WIDTH

TYPES: Final = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}


def static_files() -> dict[str, bytes]:
    """Return the packaged static files by name; nothing else is ever served."""
    folder = files("guardproxy.admin") / "static"
    return {
        item.name: item.read_bytes() for item in folder.iterdir() if item.name.rpartition(".")[2] in TYPES
    }


def environment(static: Mapping[str, bytes]) -> Environment:
    """Make the template environment: everything is escaped, a name that is not there is an error."""
    made = Environment(
        loader=PackageLoader("guardproxy.admin", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        visible=text.visible,
        text=text.visible_html,
        cell=text.cell,
        cell_html=text.cell_html,
        number=text.number,
        duration=text.duration,
        at=text.clock_time,
        rfc3339=text.rfc3339,
        path=lambda part: quote(part, safe=""),
        plain=_plain,
    )
    made.globals.update(
        line_width=WIDTH,
        asset={
            name: f"/static/{name}?v={hashlib.sha256(body).hexdigest()[:12]}" for name, body in static.items()
        },
    )
    return made


def _plain(value: Any) -> str:
    """Write any plain JSON value for a person."""
    if value is None or value == "" or value == [] or value == {}:
        return "–"
    if isinstance(value, dict):
        return ", ".join(
            f"{text.visible(str(key)).replace('_', ' ')} {_plain(item)}" for key, item in value.items()
        )
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return text.visible(value) if isinstance(value, str) else text.cell(value)


def rule_view(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Lay out one rule with its counts for the table of rules."""
    verdicts = rule.get("verdicts") or {}
    judged = sum(verdicts.get(word, 0) for word in ("ok", "violated", "unknown", "error"))
    unknown = verdicts.get("unknown", 0)
    return {
        **{key: rule.get(key) for key in ("rule", "model", "title", "mode", "action", "severity", "owner", "why", "file", "line", "canary", "demoted", "candidate", "window", "kind")},
        "verdicts": verdicts,
        "judged": judged,
        "blind": unknown > 0 and unknown == judged,
        "share": verdicts.get("violated", 0) / judged if judged else None,
    }  # fmt: skip


_FACTS: Final = {
    "fields_dropped": "fields not counted",
    "dropped": "exchanges not counted",
    "rows_unjudged": "rows without the joint check",
}
"""Counters of what was left out; shown when something was."""


def window_view(model: Mapping[str, Any]) -> dict[str, Any]:
    """Lay out one model's counters: the outcome bar's parts, and a table with whatever the fields carry."""
    outcomes = {str(word): int(count) for word, count in (model.get("outcomes") or {}).items()}
    total = sum(outcomes.values())
    parts, start = [], 0.0
    for word, count in outcomes.items():
        width = 100.0 * count / total if total else 0.0
        parts.append((word, count, round(start, 2), round(width, 2)))
        start += width
    fields = [dict(each) for each in model.get("fields") or ()]
    columns = [
        column for column in dict.fromkeys(key for each in fields for key in each) if column != "field"
    ]
    facts = {
        _FACTS.get(key, key): value
        for key, value in model.items()
        if key not in ("model", "outcomes", "fields")
        and (key, value) != ("rows", total)
        and not isinstance(value, dict)
        and (value or key not in _FACTS)
    }
    return {
        "model": str(model.get("model", "")),
        "total": total,
        "parts": parts,
        "fields": fields,
        "columns": columns,
        "facts": facts,
    }
