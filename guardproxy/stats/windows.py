"""A model's recent past in one-minute buckets: outcomes, verdicts of each rule, a tally of each field and of each KPI.

Decides how exchanges are added up and how long a minute is kept. When to add is left to the proxy, which hands over what
it has gathered; nothing here reads a clock.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from guardproxy.decision import Decision, Outcome, Verdict
from guardproxy.profile.check import BoundCheck, Check, compile_check
from guardproxy.profile.joint_bound import Numbers, numbers_of
from guardproxy.profile.model import Profile
from guardproxy.rules.kpis import CompiledKpis, Kpis
from guardproxy.stats.kpis import KpiTally
from guardproxy.stats.tally import FieldTally
from guardproxy.table import Codes, Floats, Table, stack_tables

BUCKET_S: Final = 60.0
BUCKETS: Final = 60
MAX_FIELDS: Final = 2_000
"""Fields tallied per model; a client that invents names beyond it is only counted."""
MAX_SHAPES: Final = 256
MAX_RULES_TOTALLED: Final = 4_000
"""Rules whose verdicts are counted since the start; of more, those not judged for longest are forgotten."""


class Sample(NamedTuple):
    """One screened exchange, as the windows see it. `predictions` is None when there was no usable response.

    `at` is when it arrived (Unix seconds). `happened` is when it happened, where its header says so, and `times` when each of
    its rows did, shape (rows,), where a feature says so.
    """

    at: float
    decision: Decision
    features: Table | None
    predictions: Table | None
    times: Floats | None = None
    happened: float | None = None


@dataclass(slots=True)
class _Bucket:
    start: float
    exchanges: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    verdicts: dict[str, Counter[Verdict]] = field(default_factory=dict)
    features: dict[str, FieldTally] = field(default_factory=dict)
    outputs: dict[str, FieldTally] = field(default_factory=dict)
    kpis: dict[str, KpiTally] = field(default_factory=dict)


class ModelWindows:
    """The last hour of one model, a bucket a minute, and its totals since the start."""

    def __init__(self, model: str, profile: Profile | None = None, kpis: CompiledKpis | None = None) -> None:
        """Tally `model`, judging positions by `profile` where there is one, and the KPIs that are given."""
        self.model = model
        self._kpis = kpis
        self._bound_kpis: dict[tuple[tuple[str, ...], tuple[str, ...]], Kpis] = {}
        self.fields_dropped = 0
        self.rows_unjudged = 0
        self._profile = profile
        self._joints: dict[tuple[str, ...], Numbers | None] = {}
        self._buckets: deque[_Bucket] = deque(maxlen=BUCKETS)
        self._totals = _Bucket(0.0)
        self._features = (
            None
            if profile is None or not profile.features
            else compile_check(profile.features, together=profile.together)
        )
        self._outputs = None if profile is None or not profile.outputs else compile_check(profile.outputs)
        self._bound: dict[tuple[int, tuple[str, ...]], BoundCheck] = {}

    def add(self, samples: Sequence[Sample]) -> None:
        """Add screened exchanges. One pass per message shape, whatever the number of exchanges."""
        for start, group in _by_bucket(samples).items():
            counted = _counted(start, group)
            for bucket in (self._bucket(start), self._totals):
                _merge(bucket, counted)
            self._tally(self._bucket(start), group)

    def follow(self, kpis: CompiledKpis | None) -> None:
        """Tally these KPIs from now on, as after a reload; what was tallied of others is forgotten within the hour."""
        if kpis is not self._kpis:
            self._kpis = kpis
            self._bound_kpis.clear()

    def totals(self) -> _Bucket:
        """Return the counts since the start (fields are tallied per minute only)."""
        return self._totals

    def as_json(self, now: float) -> dict[str, Any]:
        """Return the last minute and the last hour in words."""
        return {
            "model": self.model,
            "windows": {
                "5m": _joined([b for b in self._buckets if b.start > now - 300 - BUCKET_S]),
                "1h": _joined([b for b in self._buckets if b.start > now - 3600 - BUCKET_S]),
            },
            "total": _counts(self._totals),
            "fields_dropped": self.fields_dropped,
            "rows_unjudged": self.rows_unjudged,
        }

    def _bucket(self, start: float) -> _Bucket:
        for bucket in reversed(self._buckets):
            if bucket.start == start:
                return bucket
        bucket = _Bucket(start)
        self._buckets.append(bucket)
        return bucket

    def _tally(self, bucket: _Bucket, samples: Sequence[Sample]) -> None:
        features = [(s.features, s) for s in samples if s.features is not None]
        for table in self._tally_side(bucket.features, features, self._features):
            self.rows_unjudged += self._unjudged(table)
        outputs = [(s.predictions, s) for s in samples if s.predictions is not None]
        self._tally_side(bucket.outputs, outputs, self._outputs)
        if self._kpis is not None and self._kpis.each:
            self._tally_kpis(bucket, samples)

    def _tally_kpis(self, bucket: _Bucket, samples: Sequence[Sample]) -> None:
        shapes: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[Table, Table]]] = {}
        for sample in samples:
            if sample.features is not None and sample.predictions is not None:
                shape = (sample.features.fields, sample.predictions.fields)
                shapes.setdefault(shape, []).append((sample.features, sample.predictions))
        for shape, pairs in shapes.items():
            features = stack_tables([one for one, _ in pairs])
            predictions = stack_tables([other for _, other in pairs])
            for kpi, column in self._bind_kpis(shape).tallied(features, predictions):
                tally = bucket.kpis.get(kpi.name)
                if tally is None or tally.kpi != kpi:
                    tally = bucket.kpis[kpi.name] = KpiTally(kpi)
                tally.add(column.numbers)

    def _bind_kpis(self, shape: tuple[tuple[str, ...], tuple[str, ...]]) -> Kpis:
        bound = self._bound_kpis.get(shape)
        if bound is None:
            if self._kpis is None:
                raise ValueError("there are no KPIs to tally")
            if len(self._bound_kpis) >= MAX_SHAPES:
                self._bound_kpis.clear()
            bound = self._bound_kpis[shape] = self._kpis.bind(*shape)
        return bound

    def _tally_side(
        self, target: dict[str, FieldTally], tables: list[tuple[Table, Sample]], check: Check | None
    ) -> list[Table]:
        """Tally one side, and return its tables, one per shape."""
        shapes: dict[tuple[str, ...], list[tuple[Table, Sample]]] = {}
        stacked = []
        for table, sample in tables:
            shapes.setdefault(table.fields, []).append((table, sample))
        for fields, group in shapes.items():
            table = stack_tables([each for each, _ in group])
            stacked.append(table)
            bound = None if check is None else self._bind(check, fields)
            positions = None
            if bound is not None:
                times = times_of([sample for _, sample in group], [each.rows for each, _ in group])
                positions = bound.outside(table, times)
            # A check has a line per learned field, which need not be the fields of this message.
            lines = {} if bound is None else {name: line for line, name in enumerate(bound.fields)}
            for index, name in enumerate(fields):
                tally = target.get(name)
                if tally is None:
                    if len(target) >= MAX_FIELDS:
                        self.fields_dropped += 1
                        continue
                    tally = target[name] = FieldTally()
                tally.add(
                    table.block[index],
                    _present(table, name, index),
                    None if positions is None or name not in lines else positions[lines[name]],
                )
        return stacked

    def _unjudged(self, table: Table) -> int:
        """Return how many rows lack too many numbers for the profile's joint check."""
        if self._profile is None:
            return 0
        if table.fields not in self._joints:
            if len(self._joints) >= MAX_SHAPES:
                self._joints.clear()
            self._joints[table.fields] = numbers_of(self._profile, table.fields)
        numbers = self._joints[table.fields]
        return 0 if numbers is None else numbers.unjudged(table)

    def _bind(self, check: Check, fields: tuple[str, ...]) -> BoundCheck:
        key = (id(check), fields)
        if key not in self._bound:
            if len(self._bound) >= MAX_SHAPES:
                self._bound.clear()
            self._bound[key] = check.bind(fields)
        return self._bound[key]


def _by_bucket(samples: Sequence[Sample]) -> dict[float, list[Sample]]:
    groups: dict[float, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.at - sample.at % BUCKET_S, []).append(sample)
    return groups


def _counted(start: float, samples: Sequence[Sample]) -> _Bucket:
    """Count outcomes, reasons and verdicts, in one numpy pass per set of rules."""
    bucket = _Bucket(start, len(samples))
    outcomes = np.concatenate([sample.decision.outcomes for sample in samples])
    for code, rows in enumerate(np.bincount(outcomes, minlength=len(Outcome)).tolist()):
        if rows:
            bucket.outcomes[Outcome(code)] = rows
    bucket.reasons.update(s.decision.reason.value for s in samples if s.decision.reason is not None)
    groups: dict[tuple[str, ...], list[Codes]] = {}
    for sample in samples:
        groups.setdefault(sample.decision.rules, []).append(sample.decision.verdicts)
    for rules, verdicts in groups.items():
        # A refused request has verdicts of its request-phase rules only: they come first.
        for rule, codes in zip(rules, np.concatenate(verdicts, axis=1), strict=False):
            counts = np.bincount(codes, minlength=len(Verdict)).tolist()
            bucket.verdicts.setdefault(rule, Counter()).update({v: counts[v] for v in Verdict if counts[v]})
    return bucket


def _merge(target: _Bucket, source: _Bucket) -> None:
    target.exchanges += source.exchanges
    target.outcomes.update(source.outcomes)
    target.reasons.update(source.reasons)
    for rule, counts in source.verdicts.items():
        known = target.verdicts.pop(rule, None) or Counter()
        known.update(counts)
        target.verdicts[rule] = known
    while len(target.verdicts) > MAX_RULES_TOTALLED:
        del target.verdicts[next(iter(target.verdicts))]


def time_of(sample: Sample, offset: float = 0.0) -> float:
    """Return when an exchange happened; it arrived by a clock that is `offset` seconds behind."""
    return sample.at + offset if sample.happened is None else sample.happened


def times_of(samples: Sequence[Sample], rows: Sequence[int], offset: float = 0.0) -> Floats:
    """Return when each row of exchanges with so many rows happened, shape (all rows,); there must be some."""
    at, _, _, _, times, happened = zip(*samples, strict=True)
    if not [each for each in times if each is not None]:
        if happened.count(None) == len(happened):
            return np.repeat(np.array(at) + offset, rows)
        return np.repeat(np.array([time_of(sample, offset) for sample in samples]), rows)
    return np.concatenate(
        [
            np.full(number, time_of(sample, offset))
            if sample.times is None or len(sample.times) != number
            else sample.times
            for sample, number in zip(samples, rows, strict=True)
        ]
    )


def _present(table: Table, name: str, index: int) -> int:
    cells = table.exact.get(name)
    if cells is not None:
        return sum(cell is not None for cell in cells)
    return int(np.count_nonzero(~np.isnan(table.block[index])))


def _joined(buckets: list[_Bucket]) -> dict[str, Any]:
    whole = _Bucket(0.0)
    for bucket in buckets:
        _merge(whole, bucket)
        for target, source in ((whole.features, bucket.features), (whole.outputs, bucket.outputs)):
            for name, tally in source.items():
                target.setdefault(name, FieldTally()).merge(tally)
        for name, kpi in bucket.kpis.items():
            joined = whole.kpis.get(name)
            # A KPI that was given another meaning within the hour starts anew.
            if joined is None or joined.kpi != kpi.kpi:
                joined = whole.kpis[name] = KpiTally(kpi.kpi)
            joined.merge(kpi)
    return {
        **_counts(whole),
        "features": _fields(whole.features),
        "outputs": _fields(whole.outputs),
        "kpis": {f"kpi.{name}": tally.as_json() for name, tally in whole.kpis.items()},
    }


def _counts(bucket: _Bucket) -> dict[str, Any]:
    return {
        "exchanges": bucket.exchanges,
        "rows": sum(bucket.outcomes.values()),
        "outcomes": {
            outcome.name.lower(): bucket.outcomes[outcome] for outcome in Outcome if bucket.outcomes[outcome]
        },
        "unguarded": dict(bucket.reasons),
        "rules": {
            rule: {verdict.name.lower(): counts[verdict] for verdict in Verdict if counts[verdict]}
            for rule, counts in bucket.verdicts.items()
        },
    }


def _fields(tallies: Mapping[str, FieldTally]) -> dict[str, Any]:
    return {name: tally.as_json() for name, tally in tallies.items()}
