"""A hundred rules of every kind: what the bars "100 rules on 1 row" and "on 1,000 rows" are measured with."""

from typing import Final

import numpy as np

from benchmarks.case import FEATURES
from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.guard import Guard
from guardproxy.profile.model import Profile
from guardproxy.rules import load_rulesets
from guardproxy.table import Cell, Table, table_from_columns

OUTPUTS: Final = ("demand", "p10", "p90", "label", "low", "high")
HEAD: Final = """\
guardproxy: 1
model: bench
owner: ops
lists:
  labels: [plain, special, new]
  promises: [guarantee, risk-free, no risk]
kpis:
  cover: {title: Cover, expr: features.x0 / output.demand, expect: {min: -10, max: 10}}
score: {hold_at: 5, reject_at: 10}
rules:
"""
KINDS: Final = (
    "range: {{field: features.x{i}, min: -50, max: {far}}}",
    "require: features.x{i} + features.x{j} < {far}",
    "forbid: features.x{i} / (features.x{j} + 100) > {far}",
    "when: features.x{i} > 2\n    require: output.demand > features.x{j} - {far}",
    "require: (features.x{i} > -40 or features.x{j} > -40) and output.demand < {far}000",
    "order: [output.p10, output.demand, output.p90]",
    'one_of: {{field: output.label, values: [plain, special, "n{i}"]}}',
    "max_change: {{field: output.demand, against: output.p10, up: {far}%, down: {far}%}}",
    "forbid: kpi.cover > {far} or output.label not in labels",
    "forbid: output.demand > {far}0000\n    action: score\n    points: 3",
    "scope: batch\n    require: batch_share(output.demand > {far}) <= 95%",
    "require: output.demand <= batch_mean(output.demand) + {far}00",
    "range: {{field: output.demand, max: {far}00}}\n    mode: canary 20%\n    action: hold",
    (
        "require: output.demand > 1 and features.x{i} < {far}\n    unless:\n"
        '      - {{id: known, when: output.label == "new", until: 2030-01-01, owner: ops, why: known}}'
    ),
    "probabilities: {{fields: [output.low, output.high]}}",
    "confidence: {{fields: [output.low, output.high], min_top: 55%, min_margin: 1%}}",
    "text: {{field: output.label, must_not_contain: promises, max_chars: 1{i}00}}",
    "missing_share: {{fields: features.*, max: {j}%}}",
    "profile: {{fields: features.*, at_least: {far}}}",
    "require: abs(features.x{i}) < {far} and round(features.x{j}) != {far}",
)
"""The kinds of rule, in turn; `i` and `j` name features, `far` is a bound that the rows keep."""


def rules(count: int = 100) -> str:
    """Return a rule file of `count` rules."""
    width = len(FEATURES)
    made = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        text = kind.format(i=number % width, j=(number * 7 + 1) % width, far=101 + number)
        made.append(f"  - id: r{number}\n    {text}\n")
    return HEAD + "".join(made)


def guard(profile: Profile, count: int = 100) -> Guard:
    """Compile the rules for a model that answers six outputs."""
    rulesets, problems = load_rulesets(
        {"bench.guard.yaml": rules(count)}, profiles={"bench": profile}, outputs={"bench": OUTPUTS}
    )
    if any(problem.severity == "error" for problem in problems):
        raise SystemExit("\n".join(f"{p.code} {p.line}:{p.column} {p.message}" for p in problems))
    options = CodecOptions(profile_order=FEATURES, outputs=OUTPUTS)
    return Guard("bench", make_codec("open-inference", options), rulesets["bench"], profile)


def tables(count: int, seed: int = 11) -> tuple[Table, Table]:
    """Return clean features and predictions."""
    drawn = np.random.default_rng(seed).normal(size=(len(FEATURES), count)).clip(-2.5, 2.5)
    features: dict[str, list[Cell]] = dict(zip(FEATURES, drawn.tolist(), strict=True))
    predictions: dict[str, list[Cell]] = {
        "demand": [100.25 + row % 7 for row in range(count)],
        "p10": [80.5] * count,
        "p90": [131.75] * count,
        "label": ["plain" if row % 3 else "special" for row in range(count)],
        "low": [0.25] * count,
        "high": [0.75] * count,
    }
    return table_from_columns(features, count), table_from_columns(predictions, count)
