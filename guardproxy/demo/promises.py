"""What the demo promises, checked from the client's side.

Decides, from the replies alone, whether each phase came to what it was meant to. A promise that did not hold says
what was seen. Nothing here asks guardproxy how it thinks it did, but for `counted`, which compares its count with ours.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guardproxy.demo.client import OUTCOMES, Reply
from guardproxy.demo.scenario import Phase, Step
from guardproxy.demo.traffic import changed_rows, error_text, read_answer

MAX_FALSE_SHARE: Final = 0.01
"""At most this share of the ordinary rows may be flagged."""

CEILING: Final = 60.0
"""No served forecast may lie above it: no airport can start more flights in an hour."""

Played = Sequence[tuple[Step, Reply]]
"""The steps of a phase with their replies."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One line of the summary: what was promised, whether it held, and the numbers."""

    kept: bool
    text: str
    figures: str


def tally(played: Played) -> dict[str, int]:
    """Count rows by outcome over a phase, from the headers of the replies."""
    total: Counter[str] = Counter()
    for _, reply in played:
        total.update(reply.counts)
    return {outcome: total[outcome] for outcome in OUTCOMES}


def judge(phase: Phase, played: Played) -> tuple[Promise, ...]:
    """Check everything that is promised of a phase."""
    return tuple(check(played) for check in _CHECKS[phase.key])


def counted(server: Mapping[str, int], played: Iterable[Played]) -> Promise:
    """Compare the rows by outcome that guardproxy counted with those the client saw."""
    seen: Counter[str] = Counter()
    for part in played:
        seen.update(tally(part))
    differing = {o: (server.get(o, 0), seen[o]) for o in OUTCOMES if server.get(o, 0) != seen[o]}
    figures = f"{sum(seen.values()):,} rows" if not differing else f"(guard, client): {differing}"
    return Promise(not differing, "guardproxy counted the rows that the client saw", figures)


def queued(waiting: Mapping[str, int], played: Iterable[Played]) -> Promise:
    """Compare the holds in the queue, by model, with the held rows the client was told of."""
    told = sum(len(reply.held_rows) for part in played for _, reply in part)
    stored = sum(waiting.values())
    text = "every held row is in the queue, and nothing else"
    return Promise(told == stored and told > 0, text, f"{told} rows held, {stored} in the queue")


@dataclass(frozen=True, slots=True)
class Review:
    """A hold as it was when a decision was sent, what the decision should make of it, and how it read afterwards."""

    hold: str
    decision: str
    status: int
    wanted: Mapping[str, float]
    state: str
    final: Mapping[str, float] | None


RESOLUTIONS: Final[Mapping[str, str]] = {
    "approve": "approved",
    "override": "overridden",
    "reject": "rejected",
}


def decided(review: Review) -> Promise:
    """Check that a decision was taken, became final, and is the one answer that was asked for."""
    final = dict(review.final or {})
    same = set(final) >= set(review.wanted) and all(
        final[name] == value for name, value in review.wanted.items()
    )
    kept = review.status == 200 and review.state == RESOLUTIONS[review.decision] and same
    text = f"{_ACTS[review.decision]} through the API reads back as final"
    shown = (
        ", ".join(f"{name} {value:.1f}" for name, value in final.items())
        or f"no final answer (HTTP {review.status})"
    )
    return Promise(kept, text, f"{review.state}: {shown}")


_ACTS: Final[Mapping[str, str]] = {
    "approve": "an approval",
    "override": "an override",
    "reject": "a rejection",
}


def _almost_all_allowed(played: Played) -> Promise:
    rows = sum(step.rows for step, _ in played)
    flagged = rows - tally(played)["allowed"]
    wanted = sum(len(step.expected) for step, _ in played)
    share = max(0, flagged - wanted) / rows
    return Promise(
        share <= MAX_FALSE_SHARE and _all_ok(played),
        "normal days pass",
        f"{flagged} of {rows:,} rows flagged ({flagged / rows:.2%})",
    )


def _allowed_are_untouched(played: Played) -> Promise:
    compared = [
        (step, reply) for step, reply in played if reply.direct is not None and reply.outcome == "allowed"
    ]
    equal = sum(reply.body == reply.direct for _, reply in compared)
    kept = bool(compared) and equal == len(compared)
    return Promise(
        kept, "allowed answers are the model's own bytes", f"{equal} of {len(compared)} bodies identical"
    )


def _refused_unasked(played: Played) -> Promise:
    refused = [(step, reply) for step, reply in played if step.refused]
    good = [
        reply
        for step, reply in refused
        if reply.status == 422 and reply.model_calls == 0 and reply.counts.get("rejected") == step.rows
    ]
    in_shape = sum(error_text(reply.body) is not None for reply in good)
    calls = sum(reply.model_calls or 0 for _, reply in refused)
    return Promise(
        len(refused) == len(good) == in_shape > 0,
        "pascal is refused before the model is asked",
        f"{in_shape} of {len(refused)} got 422, {calls} model calls",
    )


def _as_expected(text: str) -> Callable[[Played], Promise]:
    """Promise that every row that is not ordinary got its outcome, and next to no ordinary one got any."""

    def check(played: Played) -> Promise:
        answered = [(step, reply) for step, reply in played if not step.refused]
        wanted = Counter(outcome for step, _ in answered for outcome in step.expected.values())
        missed = sum(_missed(step, reply) for step, reply in answered)
        rows = sum(step.rows - len(step.expected) for step, _ in answered)
        extra = max(
            0,
            sum(step.rows - reply.counts.get("allowed", 0) - len(step.expected) for step, reply in answered),
        )
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(wanted.items()))
        figures = f"{told}; of {rows:,} others {extra} flagged" + (f"; {missed} missed" if missed else "")
        return Promise(not missed and extra <= MAX_FALSE_SHARE * rows and _all_ok(answered), text, figures)

    return check


def _only_these_bytes(played: Played) -> Promise:
    """Compare each body with the model's own: it may differ only in the rows that are not ordinary."""
    rows = other = 0
    broken: list[str] = []
    for step, reply in played:
        if step.refused or reply.direct is None:
            continue
        changed = changed_rows(reply.direct, reply.body)
        rows += step.rows
        if changed is None or not step.changed <= changed:
            broken.append("another byte differs" if changed is None else "a bad row was served")
            continue
        surplus = changed - step.changed
        other += len(surplus)
        if len(surplus) > step.rows - reply.counts.get("allowed", 0) - len(step.changed):
            broken.append("an allowed row was changed")
    wanted = sum(len(step.changed) for step, reply in played if reply.direct is not None)
    figures = f"{wanted + other} of {rows:,} rows rewritten" + (f"; {', '.join(broken)}" if broken else "")
    kept = not broken and rows > 0 and other <= MAX_FALSE_SHARE * rows
    return Promise(kept, "every byte outside those rows is the model's own", figures)


def _sane(played: Played) -> Promise:
    """Check every number that was served: finite, in order, possible."""
    bad = total = 0
    for step, reply in played:
        if step.refused:
            continue
        rows = _served(reply.body)
        total += step.rows
        bad += step.rows - sum(_is_sane(row) for row in rows)
    return Promise(
        not bad and total > 0, "no nonsense reaches the client", f"{bad} absurd of {total:,} rows served"
    )


def _served(body: bytes) -> list[tuple[float | None, ...]]:
    """Return (p10, departures, p90) by row; nothing when the body is no complete answer."""
    try:
        answer = read_answer(body)
        return list(zip(answer["p10"], answer["departures"], answer["p90"], strict=True))
    except (KeyError, ValueError):
        return []


def _is_sane(row: tuple[float | None, ...]) -> bool:
    numbers = [value for value in row if value is not None and math.isfinite(value)]
    return (
        len(numbers) == len(row) and numbers == sorted(numbers) and numbers[0] >= 0 and numbers[-1] <= CEILING
    )


def _missed(step: Step, reply: Reply) -> int:
    wanted = Counter(step.expected.values())
    short = sum(max(0, count - reply.counts.get(outcome, 0)) for outcome, count in wanted.items())
    held = {row for row, outcome in step.expected.items() if outcome == "held"}
    return max(short, len(held - set(reply.held_rows)))


def _all_ok(played: Played) -> bool:
    """Whether every request was answered and guarded, and all its rows accounted for."""
    return all(
        reply.status == 200
        and reply.outcome not in {"", "unguarded"}
        and sum(reply.counts.values()) == step.rows
        and not reply.counts.get("unguarded")
        for step, reply in played
    )


_CHECKS: Final[Mapping[str, tuple[Callable[[Played], Promise], ...]]] = {
    "normal": (_almost_all_allowed, _allowed_are_untouched),
    "unit": (
        _refused_unasked,
        _as_expected("the airport that speaks kelvin gets fallbacks"),
        _only_these_bytes,
    ),
    "shifted": (_as_expected("garbled rows are held, a fallback served meanwhile"), _only_these_bytes, _sane),
    "missing": (_as_expected("rows without weather are marked or held"), _only_these_bytes),
    "nonsense": (_as_expected("every absurd answer is caught"), _only_these_bytes, _sane),
}
