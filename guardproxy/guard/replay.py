"""Replay: recorded traffic through two rulesets, and what differs, rule by rule and row by row.

Decides what counts as added and removed, what another rule had caught anyway, and how past reviews speak for or against
a change. Where records come from and how the answer is printed is left to the command.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from guardproxy.decision import Action, Mode, Outcome, Verdict
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import UNANSWERED, Batch, Judge, Rejudged, batches
from guardproxy.rules import Rule
from guardproxy.rules.rollout import drawn
from guardproxy.table import Codes, Floats, Mask

MAX_EXAMPLES: Final = 3
MAX_RULESETS: Final = 1_000
"""Fingerprints that are counted of those under which was recorded."""
DAY_S: Final = 86_400.0
UNREVIEWED: Final = "never reviewed"

WORDS: Final = {**{int(one): one.name.lower() for one in Outcome}, UNANSWERED: "unanswered"}
"""Outcome words by code; `unanswered` rows would have gone to a model that was never asked."""

_CODES: Final = {word: code for code, word in WORDS.items()}
_UNSURE: Final = np.array([v in (Verdict.UNKNOWN, Verdict.ERROR) for v in Verdict], dtype=np.bool_)

Resolution = Callable[[str, int], str | None]
"""From a decision's id and a row to the word of its resolution (`open` while undecided); None when it was not held."""


class Difference(NamedTuple):
    """One row that the two sides do not treat alike. `added` and `removed` name the rules whose violation it is."""

    decision: str
    row: int
    at: float
    model: str
    weight: float
    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    resolution: str | None

    def as_json(self) -> dict[str, object]:
        """Return the line that `--out` writes."""
        return {
            "decision": self.decision,
            "row": self.row,
            "at": self.at,
            "model": self.model,
            "weight": self.weight,
            "outcome": {"before": self.before, "after": self.after},
            "added": list(self.added),
            "removed": list(self.removed),
            "resolution": self.resolution,
        }


@dataclass(slots=True)
class Side:
    """Rows counted on one side: how many were recorded, and how many they stand for."""

    rows: int = 0
    weighted: float = 0.0

    def add(self, hits: Mask, weights: Floats) -> None:
        """Count the rows of a batch."""
        self.rows += int(np.count_nonzero(hits))
        self.weighted += float(weights[hits].sum())


@dataclass(slots=True)
class Change:
    """What the change does to one rule. `caught` are added rows on which another rule acts as well, and more
    than by a warning.

    `unsure` are rows that the rule cannot judge afterwards (unknown or error). `reviews_added` and `reviews_removed` count
    how people had resolved those rows; `examples_*` are the first few decisions.
    """

    rule: str
    mode: str = ""
    action: str = ""
    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    added: Side = field(default_factory=Side)
    removed: Side = field(default_factory=Side)
    caught: Side = field(default_factory=Side)
    unsure: Side = field(default_factory=Side)
    caught_by: Counter[str] = field(default_factory=Counter)
    reviews_added: Counter[str] = field(default_factory=Counter)
    reviews_removed: Counter[str] = field(default_factory=Counter)
    examples_added: list[str] = field(default_factory=list)
    examples_removed: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float | None:
        """The share of reviewed added rows on which the reviewer did not let the model's answer stand; None if none."""
        wrong = self.reviews_added["overridden"] + self.reviews_added["rejected"]
        reviewed = wrong + self.reviews_added["approved"]
        return wrong / reviewed if reviewed else None


@dataclass(slots=True)
class Report:
    """What a replay found for one model. Weighted figures stand for all traffic, `rows` for what was recorded.

    `first` and `last` are the recorded exchanges' times in Unix seconds. `outcomes` counts weighted rows by (before,
    after); `moved` are the rows with another outcome although no verdict on them differs. `unreplayable` says by rule why it was left out. `sides` are the fingerprints, or `recorded`.
    """

    model: str
    sides: tuple[str, str]
    exchanges: int = 0
    rows: int = 0
    weighted: float = 0.0
    first: float = math.inf
    last: float = -math.inf
    differing: int = 0
    changes: dict[str, Change] = field(default_factory=dict)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    moved: Side = field(default_factory=Side)
    held_before: Side = field(default_factory=Side)
    held_after: Side = field(default_factory=Side)
    unreplayable: dict[str, str] = field(default_factory=dict)
    rulesets: Counter[str] = field(default_factory=Counter)

    @property
    def days(self) -> float:
        """How many days the recording spans; 0 where it has but one instant."""
        return max(0.0, self.last - self.first) / DAY_S

    def per_day(self, weighted: float) -> float | None:
        """Return a count as a rate; None when less than an hour was recorded, which says nothing about a day."""
        return weighted / self.days if self.days >= 1 / 24 else None


class _Sided(NamedTuple):
    """One side's view of a batch: violated and unsure verdicts by rule id, outcome codes.

    `acting` are the verdicts that count of those rules that do more than warn; `canaries` those of them that are drawn.
    """

    violated: Mapping[str, Mask]
    acting: Mapping[str, Mask]
    unsure: Mapping[str, Mask]
    outcomes: Codes
    canaries: tuple[Rule, ...] = ()

    def without(self, silent: list[dict[str, str]]) -> "_Sided":
        """Leave out what rules say that are silent elsewhere."""
        if not any(silent):
            return self
        kept = {rule: hits for rule, hits in self.violated.items() if not any(rule in s for s in silent)}
        return self._replace(violated=kept)


@dataclass(slots=True, eq=False)
class Replayer:
    """Compares two sides over one model's records. `before` is None where the recorded decisions are that side."""

    before: Judge | None
    after: Judge
    resolution: Resolution | None = None
    on_difference: Callable[[Difference], None] | None = None

    def run(self, records: Iterable[Recorded]) -> Report:
        """Replay records, in memory that does not grow with them."""
        judges = [judge for judge in (self.before, self.after) if judge is not None]
        old = "recorded" if self.before is None else self.before.ruleset.fingerprint
        report = Report(self.after.ruleset.model, (old, self.after.ruleset.fingerprint))
        for batch in batches(records, alone=any(judge.alone for judge in judges)):
            self._compare(batch, report)
        for judge in judges:
            report.unreplayable.update(judge.unreplayable)
        for rule in self.after.ruleset.rules:
            # A rule that found nothing on either side is told as well: nothing is an answer.
            if rule.mode is not Mode.OFF and rule.id not in report.unreplayable:
                _change(report, rule.id, rule)
        for rule_id in report.unreplayable:
            report.changes.pop(rule_id, None)
        return report

    def _compare(self, batch: Batch, report: Report) -> None:
        new = _sided(self.after.judge(batch))
        old = _recorded(batch) if self.before is None else _sided(self.before.judge(batch))
        # What one side cannot judge is no difference: the rule is left out of both.
        silent = [judge.unreplayable for judge in (self.before, self.after) if judge is not None]
        old, new = (side.without(silent) for side in (old, new))
        _count(batch, report)
        added, removed = _changed(new.violated, old.violated), _changed(old.violated, new.violated)
        for rule_id in dict.fromkeys((*old.violated, *new.violated, *new.unsure)):
            change = _change(report, rule_id, self.after.ruleset.rule(rule_id))
            _add(change.before, old.violated.get(rule_id), batch)
            _add(change.after, new.violated.get(rule_id), batch)
            _add(change.unsure, new.unsure.get(rule_id), batch)
            if rule_id in added:
                change.added.add(added[rule_id], batch.weights)
                _caught(change, added[rule_id], new, batch)
            if rule_id in removed:
                change.removed.add(removed[rule_id], batch.weights)
        self._outcomes(batch, report, old.outcomes, new.outcomes)
        self._tell(batch, report, added, removed, old.outcomes, new.outcomes)

    def _outcomes(self, batch: Batch, report: Report, old: Codes, new: Codes) -> None:
        pairs, place = np.unique(old.astype(np.uint16) * 256 + new, return_inverse=True)
        sums = np.bincount(place.reshape(-1), weights=batch.weights)
        for pair, weighted in zip(pairs.tolist(), sums.tolist(), strict=True):
            report.outcomes[WORDS[pair // 256], WORDS[pair % 256]] += weighted
        report.held_before.add(old == Outcome.HELD, batch.weights)
        report.held_after.add(new == Outcome.HELD, batch.weights)

    def _tell(
        self,
        batch: Batch,
        report: Report,
        added: Mapping[str, Mask],
        removed: Mapping[str, Mask],
        old: Codes,
        new: Codes,
    ) -> None:
        """Look at the rows that differ one by one: reviews, examples, and whoever wants to hear of each."""
        moved: Mask = (old != new) & (new != UNANSWERED)
        differs = moved
        for hits in (*added.values(), *removed.values()):
            differs = differs | hits
            moved = moved & ~hits
        report.moved.add(moved, batch.weights)
        for row in np.flatnonzero(differs).tolist():
            report.differing += 1
            record, number = batch.place(row)
            said = None if self.resolution is None else self.resolution(record.id, number)
            more = tuple(rule_id for rule_id, hits in added.items() if hits[row])
            less = tuple(rule_id for rule_id, hits in removed.items() if hits[row])
            shown = record.id if record.features.rows == 1 else f"{record.id} row {number}"
            for rule_id in more:
                change = report.changes[rule_id]
                _remember(change.reviews_added, change.examples_added, said, shown)
            for rule_id in less:
                change = report.changes[rule_id]
                _remember(change.reviews_removed, change.examples_removed, said, shown)
            if self.on_difference is not None:
                words = WORDS[int(old[row])], WORDS[int(new[row])]
                self.on_difference(
                    Difference(
                        record.id, number, record.at, record.model, record.weight, *words, more, less, said
                    )
                )


def _count(batch: Batch, report: Report) -> None:
    report.exchanges += len(batch.exchanges)
    report.rows += batch.rows
    report.weighted += float(batch.weights.sum())
    report.first = min(report.first, *(record.at for record in batch.exchanges), math.inf)
    report.last = max(report.last, *(record.at for record in batch.exchanges), -math.inf)
    for record in batch.exchanges:
        if record.ruleset in report.rulesets or len(report.rulesets) < MAX_RULESETS:
            report.rulesets[record.ruleset] += 1


def _sided(judged: Rejudged) -> _Sided:
    hits = judged.verdicts == Verdict.VIOLATED
    unsure = _UNSURE[judged.verdicts]
    loud = np.flatnonzero((hits | unsure).any(axis=1)).tolist()
    violated, acting, doubtful = {}, {}, {}
    for index in loud:
        rule = judged.rules[index]
        violated[rule.id] = hits[index]
        if unsure[index].any():
            doubtful[rule.id] = unsure[index]
        if rule.enforced and rule.action > Action.WARN:
            counts = np.array([verdict in rule.counts for verdict in Verdict], dtype=np.bool_)
            acting[rule.id] = counts[judged.verdicts[index]]
    canaries = tuple(rule for rule in judged.rules if rule.id in acting and rule.mode is Mode.CANARY)
    return _Sided(violated, acting, doubtful, judged.outcomes, canaries)


def _recorded(batch: Batch) -> _Sided:
    """Return what the decisions said when they were made."""
    violated: dict[str, Mask] = {}
    outcomes = np.zeros(batch.rows, dtype=np.uint8)
    starts = batch.starts.tolist()
    for start, record in zip(starts, batch.exchanges, strict=False):
        rows = record.features.rows
        outcomes[start : start + rows] = [
            # A word of another release is none that was reached by judging.
            _CODES.get(word, int(Outcome.UNGUARDED))
            for word in record.outcomes
        ]
        for rule_id, hits in record.violated.items():
            mask = violated.get(rule_id)
            if mask is None:
                mask = violated[rule_id] = np.zeros(batch.rows, dtype=np.bool_)
            mask[[start + row for row in hits]] = True
    return _Sided(violated, {}, {}, outcomes)


def _changed(here: Mapping[str, Mask], there: Mapping[str, Mask]) -> dict[str, Mask]:
    """Return by rule the rows that are violated here and not there, without the rules that have none."""
    found = {}
    for rule_id, hits in here.items():
        other = there.get(rule_id)
        only = hits if other is None else hits & ~other
        if only.any():
            found[rule_id] = only
    return found


def _caught(change: Change, added: Mask, side: _Sided, batch: Batch) -> None:
    both: Mask = np.zeros(batch.rows, dtype=np.bool_)
    for rule_id, hits in side.acting.items():
        if rule_id == change.rule or not (shared := hits & added).any():
            continue
        canary = next((rule for rule in side.canaries if rule.id == rule_id), None)
        if canary is not None and not (shared := _drawn(canary, shared, batch)).any():
            continue
        both |= shared
        change.caught_by[rule_id] += int(np.count_nonzero(shared))
    change.caught.add(both, batch.weights)


def _drawn(canary: Rule, rows: Mask, batch: Batch) -> Mask:
    """Leave of some rows those in whose exchange a canary acts."""
    owners = np.unique(batch.owners[rows]).tolist()
    chosen = [owner for owner in owners if drawn((canary,), batch.exchanges[owner].identity)]
    return rows & np.isin(batch.owners, chosen)


def _add(side: Side, hits: Mask | None, batch: Batch) -> None:
    if hits is not None:
        side.add(hits, batch.weights)


def _change(report: Report, rule_id: str, rule: Rule | None) -> Change:
    change = report.changes.get(rule_id)
    if change is None:
        change = Change(rule_id)
        if rule is not None:
            change.mode, change.action = rule.mode.value, rule.action.name.lower()
        report.changes[rule_id] = change
    return change


def _remember(reviews: Counter[str], examples: list[str], resolution: str | None, shown: str) -> None:
    reviews[resolution or UNREVIEWED] += 1
    if len(examples) < MAX_EXAMPLES:
        examples.append(shown)
