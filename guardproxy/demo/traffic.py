"""What the demo's client sends and how it reads what comes back: the protocol seen from outside.

Decides how rows become a request body and in which rows two response bodies differ. It uses none of guardproxy's own
codecs, so that it can bear witness for them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from guardproxy.demo.dataset import FEATURES, WEATHER, WHOLE

Record = Mapping[str, object]
"""One row by feature, None for missing."""

Spelling = str
"""How a missing cell is written: `null`, `NaN` (the bare token) or `absent` (the tensor is left out)."""

_DATA: Final = re.compile(rb'"data": \[([^\[\]]*)\]')


def infer_body(rows: Sequence[Record], request_id: str, missing: Spelling = "null") -> bytes:
    """Write an Open Inference Protocol request, one tensor per feature.

    With `absent`, a feature that no row has is left out; one that some rows have cannot be.
    """
    nothing = float("nan") if missing == "NaN" else None
    inputs = []
    for name in FEATURES:
        cells = [row.get(name) for row in rows]
        if missing == "absent" and all(cell is None for cell in cells):
            continue
        data = [nothing if cell is None else cell for cell in cells]
        inputs.append({"name": name, "shape": [len(rows), 1], "datatype": _datatype(name), "data": data})
    return json.dumps({"id": request_id, "inputs": inputs}, separators=(",", ":")).encode()


def read_answer(body: bytes) -> dict[str, list[float | None]]:
    """Return the outputs of an inference response by name. Raises ValueError when it is none."""
    try:
        outputs = json.loads(body)["outputs"]
        return {str(output["name"]): list(output["data"]) for output in outputs}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no inference response: {body[:80]!r}") from error


def error_text(body: bytes) -> str | None:
    """Return the sentence of an error in the protocol's shape, `{"error": "..."}`; None when it has another shape."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        return None
    text = document.get("error") if isinstance(document, dict) and len(document) == 1 else None
    return text if isinstance(text, str) else None


def changed_rows(direct: bytes, served: bytes) -> frozenset[int] | None:
    """Return the rows whose values are written with other bytes in `served` than in `direct`.

    None when anything beside the values differs: a byte of the frame, or the number of values.
    """
    mine, theirs = _DATA.findall(served), _DATA.findall(direct)
    if _DATA.sub(b"", served) != _DATA.sub(b"", direct) or len(mine) != len(theirs):
        return None
    changed: set[int] = set()
    for ours, own in zip(mine, theirs, strict=True):
        cells, expected = ours.split(b","), own.split(b",")
        if len(cells) != len(expected):
            return None
        changed.update(row for row, cell in enumerate(cells) if cell != expected[row])
    return frozenset(changed)


def without_weather(row: Record) -> dict[str, object]:
    """Return the row as it is when the weather feed is down."""
    return dict(row) | dict.fromkeys(WEATHER)


def shifted_weather(row: Record) -> dict[str, object]:
    """Return the row as it is when the weather feed has a new first column: each value lands one column too late.

    The new column is what the air feels like; the last value, the visibility, falls off the end.
    """
    arriving = [row["temp"], *(row[name] for name in WEATHER[:-1])]
    return dict(row) | dict(zip(WEATHER, arriving, strict=True))


def in_pascal(row: Record) -> dict[str, object]:
    """Return the row with its pressure in pascal; a missing one is filled in, for no sensor is down today."""
    pressure = row["pressure"]
    return dict(row) | {"pressure": round(100 * (pressure if isinstance(pressure, float) else 1016.0))}


def in_kelvin(row: Record) -> dict[str, object]:
    """Return the row with its temperature in kelvin instead of degrees Fahrenheit."""
    temp = row["temp"]
    return dict(row) | {"temp": round((temp - 32) / 1.8 + 273.15, 2) if isinstance(temp, float) else None}


def _datatype(name: str) -> str:
    if name == "airport":
        return "BYTES"
    return "INT64" if name in WHOLE else "FP64"
