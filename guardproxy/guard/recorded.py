"""One exchange of the past with all that is needed to judge it again, as a value.

Decides nothing. How exchanges are chosen, redacted and stored is left to `recording`, what is made of them to `replay`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from guardproxy.decision import RequestFacts
from guardproxy.table import Cell, Table


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded exchange. `at` is Unix seconds; `weight` is how many exchanges it stands for (at least 1).

    `previous` holds, by the fields that name an entity, the last good predictions of each row's entity as they were
    then. `outcomes` has a word per row; `violated` names, by rule, the rows that it found violated. `redacted` names the
    fields (`features.NAME`, `output.NAME`) whose cells were removed before anything was kept. `identity` is a digest of
    the request's identity, 16 bytes.
    """

    id: str
    at: float
    model: str
    ruleset: str
    facts: RequestFacts
    features: Table
    predictions: Table | None
    previous: Mapping[tuple[str, ...], tuple[Mapping[str, Cell] | None, ...]]
    outcomes: tuple[str, ...]
    violated: Mapping[str, tuple[int, ...]]
    holds: tuple[str, ...] = ()
    weight: float = 1.0
    identity: bytes = b""
    redacted: tuple[str, ...] = ()
