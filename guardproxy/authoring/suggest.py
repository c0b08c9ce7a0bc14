"""Rules proposed from recorded traffic: a new file, every rule in shadow, each with its evidence and a test of both kinds.

Decides which regularities are worth a rule and how much room a bound gets. What a file may say is left to `rules`; an
existing file is never touched.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from guardproxy.authoring.approvals import Pattern
from guardproxy.authoring.observed import Observed, Seen, common, observe
from guardproxy.authoring.proposal import Broken, Suggestion, cell_text, number_text, quoted, sayable, write
from guardproxy.decision import Verdict
from guardproxy.guard.evidence import gather
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import Judge, Key
from guardproxy.profile.model import Profile, Role
from guardproxy.rules import Field, load_rulesets
from guardproxy.rules.written import ref_text
from guardproxy.source import Problem
from guardproxy.table import Cell

MIN_ROWS: Final = 200
"""Fewer rows say little about the thousandth."""

MIN_PER_VALUE: Final = 5
MAX_CATEGORIES: Final = 20
MAX_TEXT: Final = 80
MAX_RULES: Final = 100
ROOM: Final = 0.10
HUGE: Final = 1e300
"""Numbers that spread further leave no room for a bound beyond them."""

HUGE_CHANGE: Final = 1_000.0
"""An answer that grows a thousandfold from one time to the next has no usual change."""
_ENDS: Final = (0.001, 0.5, 0.999)


@dataclass(frozen=True, slots=True)
class Suggested:
    """A finished file. `fired` counts by rule the recorded rows that it would have flagged, of the `judged` ones; `problems`
    stop its use.
    """

    text: str
    rules: tuple[Suggestion, ...]
    rows: int
    fired: Mapping[str, int]
    judged: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def suggest(
    model: str,
    records: Callable[[], Iterable[Recorded]],
    *,
    key: Key = (),
    profile: Profile | None = None,
    patterns: Sequence[Pattern] = (),
) -> Suggested | str:
    """Go through the records twice: to learn what holds, then to count what each rule would have flagged.

    Returns a sentence when there is too little to learn from.
    """
    seen = observe(model, records(), key)
    if seen.rows < MIN_ROWS:
        return f"{seen.rows:,} recorded rows of '{model}' say too little; at least {MIN_ROWS} are needed"
    rules = _rules(seen, profile)
    if not rules:
        return f"{seen.rows:,} recorded rows of '{model}' show nothing that a rule could rest on"
    ordinary = _ordinary(seen)
    plain = write(seen, rules, ordinary, {}, patterns)
    rulesets, problems = load_rulesets(
        {"suggested": plain}, profiles={} if profile is None else {model: profile}
    )
    errors = tuple(problem for problem in problems if problem.severity == "error")
    if errors or model not in rulesets:
        return Suggested(plain, rules, seen.rows, {}, {}, errors)
    found = gather(model, records(), Judge(rulesets[model], profile, key))
    fired = {rule_id: counts[Verdict.VIOLATED] for rule_id, counts in found.verdicts.items()}
    judged = {name: counts[Verdict.OK] + counts[Verdict.VIOLATED] for name, counts in found.verdicts.items()}
    told = {name: (rows, judged[name]) for name, rows in fired.items()}
    return Suggested(write(seen, rules, ordinary, told, patterns), rules, seen.rows, fired, judged)


def _rules(seen: Observed, profile: Profile | None) -> tuple[Suggestion, ...]:
    keys = set(seen.key)
    if profile is not None:
        keys |= {name for name, one in profile.features.items() if one.role is Role.KEY}
    named = [*seen.named("output"), *(one for one in seen.named("features") if one.name not in keys)]
    fields = [one for one in named if one.present >= MIN_ROWS and sayable(one.name)]
    found = [made for one in fields for made in _field_rules(one)]
    found += [*_order(seen), *_changes(seen), *_gaps(seen)]
    ids: dict[str, Suggestion] = {}
    for one in found[:MAX_RULES]:
        ids.setdefault(one.id, one)
    return tuple(ids.values())


def _field_rules(one: Seen) -> Iterable[Suggestion]:
    if one.numeric:
        made = _codes(one) or _range(one)
        return () if made is None else (made,)
    if one.categorical:
        made = _one_of(one)
        return () if made is None else (made,)
    if one.space == "output" and one.vectors == one.present and one.sums_to_one:
        return (_probabilities(one),)
    return ()


def _range(one: Seen) -> Suggestion | None:
    low, _, high = one.numbers.quantiles(_ENDS)
    if low == high:
        return None
    room = ROOM * (high - low)
    below, above = _outward(low - room, high + room, high - low, whole=one.whole)
    if one.numbers.low >= 0 > below:
        below = 0.0
    if not (math.isfinite(below) and math.isfinite(above) and above - below < HUGE):
        return None
    name = ref_text(Field(one.space, one.name))
    why = f"p0.1-p99.9 of {one.present:,} rows ({low:,.6g} .. {high:,.6g}), widened {ROOM:.0%}"
    bad = {one.name: above + max(1.0, above - below)}
    return Suggestion(
        f"{_slug(one)}-range",
        f"{one.name} lies where it usually does",
        (f"range: {{field: {quoted(name)}, min: {number_text(below)}, max: {number_text(above)}}}",),
        why,
        _broken(one, f"{one.name} far above", bad),
    )


def _codes(one: Seen) -> Suggestion | None:
    """Propose the values of a column of few whole numbers: what lies beside them is no larger season, but none."""
    levels = one.levels
    if not levels or len(levels) < 2 or min(levels.values()) < MIN_PER_VALUE or max(map(abs, levels)) > 1e9:
        return None
    shown = ", ".join(number_text(number) for number in sorted(levels))
    return _known(one, shown, levels, max(levels) + 1)


def _one_of(one: Seen) -> Suggestion | None:
    values = one.values
    if (
        not values
        or len(values) > MAX_CATEGORIES
        or min(values.values()) < MIN_PER_VALUE
        or bool in one.kinds
    ):
        return None
    if not all(isinstance(cell, str) and sayable(cell) and len(cell) <= MAX_TEXT for cell in values):
        return None
    listed = ", ".join(cell_text(cell) for cell in values)
    return _known(one, listed, values, "no such value")


def _known(one: Seen, listed: str, values: Mapping[Any, int], other: Cell) -> Suggestion:
    name = ref_text(Field(one.space, one.name))
    return Suggestion(
        f"{_slug(one)}-known",
        f"{one.name} is one of the values that occur",
        ("one_of:", f"  field: {quoted(name)}", f"  values: [{listed}]"),
        f"{len(values)} values in {one.present:,} rows, the rarest in {min(values.values()):,} of them",
        _broken(one, f"{one.name} of no known value", {one.name: other}),
    )


def _probabilities(one: Seen) -> Suggestion:
    name = ref_text(Field(one.space, one.name))
    return Suggestion(
        f"{_slug(one)}-probabilities",
        f"{one.name} adds up to 1",
        (f"probabilities: {{field: {quoted(name)}}}",),
        f"so it was in all of {one.present:,} rows",
        _broken(one, f"{one.name} adds up to more", {one.name: (0.9,) * max(2, *one.lengths, 0)}),
    )


def _order(seen: Observed) -> Iterable[Suggestion]:
    numeric = [one for one in seen.named("output") if one.numeric and sayable(one.name)]
    fields = [one for one in numeric if one.present == seen.paired > 0]
    fields.sort(key=lambda one: one.numbers.quantiles(_ENDS)[1])
    chain: list[Seen] = []
    for one in fields:
        pairs = [(before.name, one.name) for before in chain]
        # Each must have been above the one before it at least once, else the two are just the same column.
        if all(pair not in seen.unordered and pair[::-1] in seen.unordered for pair in pairs):
            chain.append(one)
    if len(chain) < 2:
        return
    names = [ref_text(Field("output", one.name)) for one in chain]
    top = chain[-1].numbers.quantiles(_ENDS)[1]
    if abs(top) > HUGE:
        return
    yield Suggestion(
        "outputs-ordered",
        " <= ".join(one.name for one in chain),
        (f"order: [{', '.join(quoted(name) for name in names)}]",),
        f"so it was in all of {seen.paired:,} rows",
        Broken("outputs out of order", output={chain[0].name: top + abs(top) + 1}),
    )


def _changes(seen: Observed) -> Iterable[Suggestion]:
    for name, sample in seen.changes.items():
        if (
            sample.seen < MIN_ROWS
            or f"output.{name}" in seen.redacted
            or not sayable("".join((name, *seen.key)))
        ):
            continue
        low, _, high = sample.quantiles(_ENDS)
        up, down = (_share_up(max(0.05, end) * (1 + ROOM)) for end in (high, -low))
        floor, base = seen.bases[name].quantiles((0.01, 0.5))
        size = max(base, floor, 1e-6)
        if size > HUGE or _share(up) > HUGE_CHANGE:
            continue
        by = ", ".join(quoted(ref_text(Field("features", key))) for key in seen.key)
        target = ref_text(Field("output", name))
        limits = f"up: {up}" if not 0 < _share(down) < 1 else f"up: {up}, down: {down}"
        value = size * (2 + 2 * _share(up))
        yield Suggestion(
            f"{_slug(seen.fields['output', name])}-change",
            f"{name} does not jump against the same entity's last answer",
            (
                "max_change:",
                f"  field: {quoted(target)}",
                "  against: previous",
                f"  by: [{by}]",
                f"  {limits.replace(', ', chr(10) + '      ')}",
                f"  floor: {number_text(_rounded(size / 10, down=True) or 1e-6)}",
            ),
            f"p0.1-p99.9 of {sample.seen:,} changes (-{abs(min(0.0, low)):.1%} .. +{max(0.0, high):.1%}), widened {ROOM:.0%}",
            Broken(f"{name} jumps", output={name: value}, previous={name: size}),
        )


def _gaps(seen: Observed) -> Iterable[Suggestion]:
    features = [one for one in seen.named("features") if one.present and sayable(one.name)]
    if len(features) < 4 or len(features) != len([key for key in seen.fields if key[0] == "features"]):
        return
    _, _, most = seen.gaps.quantiles(_ENDS)
    # What is half empty in ordinary traffic needs an eye, not a bound.
    if most > 0.5:
        return
    share = min(0.99, math.ceil((most * (1 + ROOM) + 0.05) * 100) / 100)
    gone = {one.name: None for one in features}
    yield Suggestion(
        "features-missing",
        "Much of a row is missing",
        (f'missing_share: {{fields: "features.*", max: {share:.0%}}}',),
        f"99.9% of {seen.rows:,} rows lack at most {most:.1%} of their features; 5 points of room",
        Broken("a row with next to nothing in it", features=gone),
    )


def _ordinary(seen: Observed) -> tuple[dict[str, Cell], dict[str, Cell]]:
    """Return a row made of the middle of every field, so that nobody's own values stand in a file."""
    rows: dict[str, dict[str, Cell]] = {"features": {}, "output": {}}
    for space, cells in rows.items():
        for one in seen.named(space):
            if sayable(one.name):
                cells[one.name] = _middle(one)
    return rows["features"], rows["output"]


def _middle(one: Seen) -> Cell:
    if one.numbers.seen:
        return one.numbers.quantiles((0.5,))[0]
    if one.vectors:
        size = max(1, *one.lengths, 0)
        return (1.0, *(0.0,) * (size - 1))
    if not one.present:
        return None
    few = one.values is not None and 0 < len(one.values) <= MAX_CATEGORIES
    value = common(one.values) if few and one.values else "x"
    return value if not isinstance(value, str) or (sayable(value) and len(value) <= MAX_TEXT) else "x"


def _broken(one: Seen, name: str, cells: Mapping[str, Cell]) -> Broken:
    return Broken(name, output=cells) if one.space == "output" else Broken(name, features=cells)


def _outward(low: float, high: float, spread: float, *, whole: bool) -> tuple[float, float]:
    """Round bounds outward to a hundredth of what lies between them."""
    step = 10.0 ** math.floor(math.log10(spread) - 2) if math.isfinite(spread) and spread > 0 else 1.0
    if whole:
        step = max(1.0, step)
    if step == 0.0 or not math.isfinite(low / step) or not math.isfinite(high / step):
        return low, high
    digits = max(0, -math.floor(math.log10(step)))
    return round(math.floor(low / step) * step, digits), round(math.ceil(high / step) * step, digits)


def _rounded(value: float, *, down: bool) -> float:
    if value <= 0 or not math.isfinite(value):
        return 0.0
    step = 10.0 ** math.floor(math.log10(value))
    return round((math.floor if down else math.ceil)(value / step) * step, 12)


def _share_up(share: float) -> str:
    return f"{math.ceil(share * 100)}%"


def _share(text: str) -> float:
    return float(text.removesuffix("%")) / 100


def _slug(one: Seen) -> str:
    word = "".join(char if char.isascii() and char.isalnum() else "-" for char in one.name.lower())
    word = "-".join(part for part in word.split("-") if part) or "field"
    return f"{word[:50].strip('-')}" if word[0].isalpha() else f"field-{word[:40]}"
