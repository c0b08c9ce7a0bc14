"""Recorded exchanges made by hand."""

from collections.abc import Mapping, Sequence

from guardproxy.guard.recorded import Recorded
from guardproxy.proxy.facts import facts_at
from guardproxy.rules import Ruleset, load_rulesets
from guardproxy.table import Cell, table_from_records

START = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""

Row = Mapping[str, Cell]


def exchange(
    number: int,
    features: Sequence[Row],
    output: Sequence[Row] | None,
    *,
    model: str = "m",
    previous: Mapping[tuple[str, ...], tuple[Row | None, ...]] | None = None,
    outcomes: Sequence[str] = (),
    violated: Mapping[str, tuple[int, ...]] | None = None,
    weight: float = 1.0,
    identity: bytes = b"",
    redacted: tuple[str, ...] = (),
    at: float | None = None,
) -> Recorded:
    """Make an exchange, by default one that was allowed; the n-th a minute after the one before it."""
    when = START + 60.0 * number if at is None else at
    return Recorded(
        f"dec_{number:04}",
        when,
        model,
        "aaaaaaaaaaaa",
        facts_at(when),
        table_from_records(features),
        None if output is None else table_from_records(output),
        previous or {},
        tuple(outcomes) or ("allowed",) * len(features),
        violated or {},
        (),
        weight,
        identity,
        redacted,
    )


def rules(text: str, model: str = "m") -> Ruleset:
    """Read the rules of one model; `text` is what stands under `rules:` and behind it."""
    head = f"guardproxy: 1\nmodel: {model}\nowner: ops\nrules:\n"
    rulesets, problems = load_rulesets({"m.guard.yaml": head + text})
    errors = [problem for problem in problems if problem.severity == "error"]
    assert not errors, errors
    return rulesets[model]
