"""What the admin plane needs of the rest of the program.

Decides the seams. Who stands behind them is left to whoever starts the process.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardproxy.admin.tokens import TokenBook
from guardproxy.holds import Hold
from guardproxy.stores import HoldStore
from guardproxy.table import Cell


def _ignore(_hold: Hold) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServices:
    """Everything the admin plane asks of others. All callables return at once and must not raise.

    `clock` gives Unix seconds. `ready` gives (ready, reasons why not). `metrics` gives Prometheus text. `windows`,
    `rules` and `overview` give plain JSON values (str, int, float, bool, None, lists, mappings):

    - `windows`: `{"models": [{"model", "rows", "outcomes": {word: count}, "fields": [{"field", ...numbers}]}]}`;
      other keys are shown as they are.
    - `rules`: one mapping per rule: `rule`, `model`, `mode`, `action`, `severity`, `owner`, `why`, `file`, `line`,
      `verdicts: {ok, violated, unknown, error}`; absent keys are shown as a dash.
    - `overview`: `ruleset` (fingerprint), `unguarded` (a count, or counts by reason), `routes` (list of mappings).

    `decision` gives the record of one decision by its id, or None. `check_override` names the enforced rules that
    values violate on a hold's row. `changed` is told of every hold after a person changed it.
    """

    store: HoldStore
    tokens: TokenBook
    clock: Callable[[], float]
    undo_s: float
    live: Callable[[], bool]
    ready: Callable[[], tuple[bool, list[str]]]
    metrics: Callable[[], bytes]
    windows: Callable[[], Mapping[str, Any]]
    rules: Callable[[], Sequence[Mapping[str, Any]]]
    decision: Callable[[str], Mapping[str, Any] | None]
    overview: Callable[[], Mapping[str, Any]]
    check_override: Callable[[Hold, Mapping[str, Cell]], tuple[str, ...]]
    changed: Callable[[Hold], None] = _ignore
