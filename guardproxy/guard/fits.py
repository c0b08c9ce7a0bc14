"""What a model's signature says about literal fallbacks: some can never be written into its responses.

Decides which literals those are. A fallback that is worked out per row is left to the response itself, which refuses it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from guardproxy.codecs.cells import ANY_STYLE, tensor_kind
from guardproxy.codecs.signature import Column
from guardproxy.errors import PatchError
from guardproxy.rules import Rule, Ruleset
from guardproxy.rules.model import FallbackSpec
from guardproxy.source import Problem
from guardproxy.table import Cell

CODE: Final = "E309"


def named_outputs(columns: Sequence[Column], names: Sequence[str]) -> Mapping[str, Column]:
    """Return a signature's outputs by the names that rules have for them: the route's, in order, where it gives any."""
    called = names if len(names) == len(columns) else [column.name for column in columns]
    return dict(zip(called, columns, strict=True))


def unfit_fallbacks(ruleset: Ruleset, outputs: Mapping[str, Column]) -> Iterator[tuple[str, Problem]]:
    """Yield a problem, with its rule's id, for each rule that has a literal fallback which its output's type cannot hold."""
    for rule in ruleset.rules:
        for spec in rule.fallback:
            why = _misfit(spec, outputs) if spec.kind == "value" else ""
            if why:
                yield rule.id, _problem(rule, why)
                break


def _misfit(spec: FallbackSpec, outputs: Mapping[str, Column]) -> str:
    for name, cell in spec.values.items():
        if name == "" and len(outputs) == 1:
            name = next(iter(outputs))
        column = outputs.get(name)
        why = "" if column is None else _why(column, cell)
        if column is not None and why:
            return f"{str(cell)[:60]} can never be written into the output '{name}', which is {column.datatype}: {why}"
    return ""


def _why(column: Column, cell: Cell) -> str:
    members = cell if isinstance(cell, tuple) else (cell,)
    if column.width > 0 and len(members) != column.width:
        return f"it has {column.width} values in each row"
    kind = tensor_kind(column.datatype, ())
    try:
        for member in members:
            if member is not None:
                kind.write(member, ANY_STYLE)
    except PatchError as error:
        return str(error)
    return ""


def _problem(rule: Rule, why: str) -> Problem:
    place = rule.place
    return Problem(
        CODE,
        f"the fallback of rule '{rule.id}' cannot be served: {why}",
        place.file,
        place.line,
        place.column,
        help="write a value of the output's type, or take the route's signature away if it is not this model's",
    )
