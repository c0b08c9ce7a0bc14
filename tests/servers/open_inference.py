"""What the pairs that speak the Open Inference Protocol share: a matrix model's rules, its rows, and how answers compare."""

from __future__ import annotations

from typing import Any

from tests.servers.processes import Refused

RULES = """\
guardproxy: 1
model: matrix
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.y < 1000
    action: fallback
    fallback: [{value: {y: 7.5, n: 7, label: other}}]
  - id: never-seen
    forbid: output.n == 999
    action: reject
    message: "{output.n} was never seen"
  - id: unit-error
    range: {field: features.f0, max: 100000}
    action: reject
    message: "f0 is {features.f0:.0f}, above 100000"
"""
OUTPUTS = ["y", "n", "label"]
REPLACED = {"y": 7.5, "n": 7, "label": "other"}
ORDINARY = [[1.0, 2.0, 3.0], [0.5, 0.25, 0.125], [10.5, 20.25, 30.125]]
ABSURD = [[1.0, 2.0, 3.0], [500.0, 600.25, 700.0], [10.5, 20.25, 30.125]]
ABSURD_ROW = 1
NEVER_SEEN = [[1.0, 2.0, 3.0], [900.0, 90.0, 9.0]]
UNIT_ERROR = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [200000.0, 5.0, 6.0]]

ROWS = {"ordinary": ORDINARY, "absurd": ABSURD, "never seen": NEVER_SEEN, "unit error": UNIT_ERROR}
"""What a guard in shadow lets through whatever its rules say."""


def matrix(rows: list[list[float]], dtype: str = "float64") -> dict[str, Any]:
    """Return the arguments of a client's `infer` for the matrix model."""
    x = {"values": rows, "dtype": dtype, "shape": [len(rows), len(rows[0])]}
    return {"model": "matrix", "inputs": {"x": x}, "outputs": OUTPUTS}


def with_row_replaced(held: dict[str, Any], row: int, values: dict[str, Any]) -> dict[str, Any]:
    """Return what a client's arrays hold once one row has other values; one value a row."""
    changed = {name: {**each, "values": list(each["values"])} for name, each in held.items()}
    for name, value in values.items():
        changed[name]["values"][row] = value
    return changed


def refusal(call: Any, *arguments: Any, **more: Any) -> Refused:
    """Return the exception that the client raised; fails where it raised none."""
    try:
        held = call(*arguments, **more)
    except Refused as refused:
        return refused
    raise AssertionError(f"the client raised nothing and holds {held}")
