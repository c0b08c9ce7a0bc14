"""What happens after a reply: samples wait in a bounded queue until the next flush.

Decides what is kept of a decision for those who ask about it by id, and what is dropped at the bound (the newest sample,
counted). The reply never waits for any of this.
"""

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from guardproxy.decision import Decision, Outcome
from guardproxy.proxy.model_statistics import ModelStatistics
from guardproxy.rules import Ruleset
from guardproxy.stats import Breaker, ModelWindows, Sample, Seen
from guardproxy.stats.recent import compile_recents
from guardproxy.table import Table, json_cell

MAX_PENDING: Final = 20_000
MAX_PENDING_ROWS: Final = 2_000_000
MAX_RECENT: Final = 2_000
MAX_RECENT_CELLS: Final = 2_000_000
"""Cells that recent decisions hold together; of more the oldest decisions go, but for the newest of all."""
FINDING_CELLS: Final = 50
"""So many cells take as much memory as a finding."""
CELL_CHARS: Final = 8
"""So many characters of a text, or numbers of a vector, count as a cell."""
LOOKED_AT: Final = 64
"""Rows of a table whose texts are measured; those of more rows are taken to be as long."""

BUCKETS_S: Final = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


class Entry(NamedTuple):
    """One screened exchange with what its reply said. `drawn` names the canaries that acted in it, where any rule was loud."""

    id: str
    route: str
    sample: Sample
    status: int
    guard_s: float
    upstream_s: float
    holds: tuple[str, ...] = ()
    drawn: frozenset[str] = frozenset()


class Histogram:
    """Durations in fixed buckets, as Prometheus counts them."""

    def __init__(self) -> None:
        """Start empty."""
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds


class Journal:
    """The queue of one model's screened exchanges, and what has been counted from it."""

    def __init__(
        self,
        windows: ModelWindows,
        breaker: Breaker | None = None,
        statistics: ModelStatistics | None = None,
    ) -> None:
        """Count into `windows` and the `statistics` of all replicas, and hold the rules to their limits by `breaker`."""
        self.windows = windows
        self.statistics = statistics
        self.breaker = breaker
        self.dropped = 0
        self.guard_s = Histogram()
        self.upstream_s = Histogram()
        self._pending: deque[Entry] = deque()
        self._pending_rows = 0
        self._recent: OrderedDict[str, tuple[Entry, int]] = OrderedDict()
        self._recent_cells = 0

    def add(self, entry: Entry) -> None:
        """Queue an entry; beyond the bounds it is dropped and counted."""
        rows = entry.sample.decision.rows
        if len(self._pending) >= MAX_PENDING or self._pending_rows + rows > MAX_PENDING_ROWS:
            self.dropped += 1
            return
        self._pending.append(entry)
        self._pending_rows += rows

    def follow(self, ruleset: Ruleset) -> None:
        """Tally the KPIs and the rolling functions of another ruleset from now on."""
        self.windows.follow(ruleset.measures)
        if self.statistics is not None:
            self.statistics.follow(compile_recents(ruleset.recents))

    def flush(self) -> int:
        """Count everything that waits; return how many exchanges that were."""
        if not self._pending:
            return 0
        entries, self._pending, self._pending_rows = list(self._pending), deque(), 0
        samples = [entry.sample for entry in entries]
        self.windows.add(samples)
        if self.statistics is not None:
            self.statistics.add(samples)
        if self.breaker is not None:
            self.breaker.add([Seen(entry.sample.at, entry.sample.decision, entry.drawn) for entry in entries])
        for entry in entries:
            self.guard_s.add(entry.guard_s)
            self.upstream_s.add(entry.upstream_s)
        for entry in entries[-MAX_RECENT:]:
            self._keep(entry)
        return len(entries)

    def _keep(self, entry: Entry) -> None:
        cells = _cells(entry)
        self._recent[entry.id] = entry, cells
        self._recent_cells += cells
        while len(self._recent) > MAX_RECENT or (
            self._recent_cells > MAX_RECENT_CELLS and len(self._recent) > 1
        ):
            _, (_, cells) = self._recent.popitem(last=False)
            self._recent_cells -= cells

    def find(self, decision_id: str) -> dict[str, Any] | None:
        """Return a recent decision in words, or None when it is unknown or no longer kept."""
        self.flush()
        found = self._recent.get(decision_id)
        return None if found is None else _as_json(found[0])


def _cells(entry: Entry) -> int:
    """Return how many cells an entry holds, a row at least one."""
    sample = entry.sample
    decision = sample.decision
    cells = decision.rows + FINDING_CELLS * len(decision.findings)
    for table in (sample.features, sample.predictions):
        if table is not None:
            cells += table.rows * len(table.fields)
            if table.exact:
                cells += _long_cells(table)
    return cells


def _long_cells(table: Table) -> int:
    """Return as how many cells the texts and vectors of a table count beside their own."""
    step = -(-table.rows // LOOKED_AT) or 1
    lengths = sum(
        len(cell)
        for column in table.exact.values()
        for cell in column[::step]
        if isinstance(cell, (str, tuple))
    )
    return step * lengths // CELL_CHARS


def _as_json(entry: Entry) -> dict[str, Any]:
    decision = entry.sample.decision
    return {
        "id": entry.id,
        "at": entry.sample.at,
        "route": entry.route,
        "model": decision.model,
        "ruleset": decision.ruleset,
        "status": entry.status,
        "outcome": decision.outcome.name.lower(),
        "reason": decision.reason.value if decision.reason is not None else None,
        "rows": [_row(decision, entry.sample, row) for row in range(min(decision.rows, 20))],
        "rows_total": decision.rows,
        "findings": [
            {
                "rule": finding.rule,
                "rev": finding.rev,
                "row": finding.row,
                "verdict": finding.verdict.name.lower(),
                "mode": finding.mode.value,
                "action": finding.action.name.lower(),
                "severity": finding.severity.name.lower(),
                "message": finding.message,
                "measured": {name: json_cell(cell) for name, cell in finding.measured},
                "bound": finding.bound,
                "bound_source": finding.bound_source,
                "acts": finding.acts,
                "demoted": finding.demoted,
            }
            for finding in decision.findings
        ],
        "findings_dropped": decision.findings_dropped,
        "replaced": [
            {
                "row": patch.row,
                "source": patch.source,
                "values": {n: json_cell(c) for n, c in patch.values.items()},
            }
            for patch in decision.patch[:200]
        ],
        "holds": list(entry.holds),
        "guard_ms": entry.guard_s * 1000,
        "upstream_ms": entry.upstream_s * 1000,
    }


def _row(decision: Decision, sample: Sample, row: int) -> dict[str, Any]:
    return {
        "row": row,
        "outcome": Outcome(int(decision.outcomes[row])).name.lower(),
        "features": _record(sample.features, row),
        "predictions": _record(sample.predictions, row),
    }


def _record(table: Table | None, row: int) -> Mapping[str, Any] | None:
    return (
        None
        if table is None or row >= table.rows
        else {n: json_cell(c) for n, c in table.record(row).items()}
    )
