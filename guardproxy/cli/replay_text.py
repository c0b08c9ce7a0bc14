"""How a replay is told: a paragraph per rule that changes, then outcomes, reviewers' load, and what could not be replayed.

Decides wording and order. Weighted figures, which stand for all traffic, come first; sampled rows in brackets where they
differ.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from guardproxy.cli.output import count, printable
from guardproxy.guard.replay import DAY_S, UNREVIEWED, Change, Report, Side

_REVIEWED: Final = ("overridden", "rejected", "approved", "expired", "open", UNREVIEWED)


def replay_lines(report: Report, minutes: float) -> Iterator[str]:
    """Yield the lines of one model's replay; `minutes` is what a review takes."""
    yield f"{printable(report.model)}: {report.sides[0]} -> {report.sides[1]}"
    yield f"  {_span(report)}"
    changed = [change for change in report.changes.values() if change.added.rows or change.removed.rows]
    same = [change for change in report.changes.values() if not (change.added.rows or change.removed.rows)]
    changed.sort(key=lambda change: (-(change.added.weighted + change.removed.weighted), change.rule))
    for change in changed:
        yield ""
        yield from _change_lines(change, report)
    yield ""
    if same:
        yield f"  no verdict differs: {_names(same)}"
    yield from _outcome_lines(report)
    yield from _load_lines(report, minutes)
    yield from _moved_lines(report)
    for rule, reason in sorted(report.unreplayable.items()):
        yield f"  not replayed: {rule} {reason}"
    if report.sides[0] == "recorded" and len(report.rulesets) > 1:
        yield f"  note: {count(len(report.rulesets), 'ruleset')} decided while this was recorded"


def replay_json(report: Report, minutes: float) -> dict[str, Any]:
    """Return one model's replay for programs."""
    before, after = (report.per_day(side.weighted) for side in (report.held_before, report.held_after))
    return {
        "model": report.model,
        "before": report.sides[0],
        "after": report.sides[1],
        "exchanges": report.exchanges,
        "rows": report.rows,
        "weighted_rows": report.weighted,
        "days": report.days,
        "differing_rows": report.differing,
        "same_verdicts": {"rows": report.moved.rows, "weighted": report.moved.weighted},
        "rules": [_change_json(change, report) for change in report.changes.values()],
        "outcomes": [
            {"before": pair[0], "after": pair[1], "weighted_rows": rows}
            for pair, rows in sorted(report.outcomes.items())
        ],
        "held_per_day": {"before": before, "after": after},
        "review_hours_per_day": {
            "before": None if before is None else before * minutes / 60,
            "after": None if after is None else after * minutes / 60,
        },
        "not_replayed": [
            {"rule": rule, "reason": reason} for rule, reason in sorted(report.unreplayable.items())
        ],
    }


def _span(report: Report) -> str:
    rows = f"{report.rows:,} recorded rows"
    if round(report.weighted) != report.rows:
        rows += f" standing for {report.weighted:,.0f}"
    return f"{rows}, {count(report.exchanges, 'exchange')}, {_time(report.days * DAY_S)}"


def _time(seconds: float) -> str:
    for unit, size in (("day", DAY_S), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= size:
            amount = seconds / size
            return f"{amount:.1f} {unit}s" if round(amount, 1) != 1 else f"1 {unit}"
    return f"{seconds:.0f} seconds"


def _change_lines(change: Change, report: Report) -> Iterator[str]:
    how = ", ".join(word for word in (change.mode, change.action) if word) or "no longer a rule"
    yield f"  {change.rule}  ({how})"
    share = change.after.weighted / report.weighted if report.weighted else 0.0
    signs = ", ".join(
        f"{sign}{_side(side)}" for sign, side in (("+", change.added), ("-", change.removed)) if side.rows
    )
    yield f"     violated   {_side(change.before)} -> {_side(change.after)}   ({signs})   {share:.2%} of rows"
    if change.unsure.rows:
        yield f"     cannot be judged on {_side(change.unsure)} of the rows"
    if change.added.rows:
        yield f"     of the +{_side(change.added)}: {_caught(change)}"
        yield from _review_lines("     past reviews of these:", change.reviews_added, change.precision)
        yield f"     examples: {', '.join(map(printable, change.examples_added))}"
    if change.removed.rows:
        yield from _review_lines("     past reviews of those no longer found:", change.reviews_removed, None)
        yield f"     examples no longer found: {', '.join(map(printable, change.examples_removed))}"


def _caught(change: Change) -> str:
    if not change.caught.rows:
        return "none is caught by another enforced rule"
    names = ", ".join(rule for rule, _ in change.caught_by.most_common(3))
    new = change.added.weighted - change.caught.weighted
    return f"{_side(change.caught)} already caught by {names}, {new:,.0f} new"


def _review_lines(head: str, reviews: Mapping[str, int], precision: float | None) -> Iterator[str]:
    said = [f"{word} {reviews[word]:,}" for word in _REVIEWED if reviews.get(word)]
    if list(reviews) != [UNREVIEWED] and said:
        tail = "" if precision is None else f" -> precision so far {precision:.0%}"
        yield f"{head} {', '.join(said)}{tail}"


def _outcome_lines(report: Report) -> Iterator[str]:
    moved = {pair: rows for pair, rows in report.outcomes.items() if pair[0] != pair[1]}
    unanswered = sum(rows for pair, rows in report.outcomes.items() if "unanswered" in pair)
    told = [
        f"{before} -> {after} {rows:,.0f}"
        for (before, after), rows in sorted(moved.items(), key=lambda item: -item[1])
        if "unanswered" not in (before, after)
    ]
    yield f"  outcomes   {', '.join(told) if told else 'the same for every row'}"
    if unanswered:
        yield f"  note: {unanswered:,.0f} rows were refused then, so no prediction of theirs can be judged now"


def _moved_lines(report: Report) -> Iterator[str]:
    """Say where an outcome differs and no verdict does: what is compared is then not the rules alone."""
    if not report.moved.rows:
        return
    why = "modes, actions or fallbacks differ"
    if report.sides[0] == "recorded":
        why += ", or a breaker had turned rules into warnings then (--rules compares without breakers)"
    yield f"  note: on {_side(report.moved)} of these rows no verdict differs: {why}"


def _load_lines(report: Report, minutes: float) -> Iterator[str]:
    before, after = (report.per_day(side.weighted) for side in (report.held_before, report.held_after))
    if before is None or after is None:
        yield (
            f"  held rows  {_side(report.held_before)} -> {_side(report.held_after)} "
            f"(less than an hour was recorded: no rate by day)"
        )
        return
    hours = (after - before) * minutes / 60
    yield (
        f"  reviewers  {before:,.1f} -> {after:,.1f} holds/day ({after - before:+,.1f}), "
        f"{hours:+,.1f} h/day at {minutes:g} min each"
    )


def _side(side: Side) -> str:
    shown = f"{side.weighted:,.0f}"
    return shown if round(side.weighted) == side.rows else f"{shown} [{side.rows:,} sampled]"


def _names(changes: list[Change]) -> str:
    names = [
        change.rule + (f" (violated {change.after.weighted:,.0f} times)" if change.after.rows else "")
        for change in changes
    ]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _change_json(change: Change, report: Report) -> dict[str, Any]:
    sides = ("before", "after", "added", "removed", "caught", "unsure")
    return {
        "rule": change.rule,
        "mode": change.mode,
        "action": change.action,
        **{name: {"rows": (side := getattr(change, name)).rows, "weighted": side.weighted} for name in sides},
        "share": change.after.weighted / report.weighted if report.weighted else 0.0,
        "caught_by": dict(change.caught_by),
        "reviews": {"added": dict(change.reviews_added), "removed": dict(change.reviews_removed)},
        "precision": change.precision,
        "examples": {"added": change.examples_added, "removed": change.examples_removed},
    }
