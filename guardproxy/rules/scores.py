"""The score of a model: weak signals that add up, and the sums at which they hold or reject.

Decides how the block is written and the two rules that it becomes. Adding points up is left to the guard.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from guardproxy.decision import Action, Mode, Phase, Severity, Verdict
from guardproxy.rules.context import Context
from guardproxy.rules.limits import completed
from guardproxy.rules.model import SCORE_HOLD, SCORE_REJECT, Check, FallbackSpec, HoldSpec, Rule
from guardproxy.rules.remedies import default_hold, read_fallback, read_hold
from guardproxy.source import Entry, Place

SCORE_KEYS: Final = ("hold_at", "reject_at", "hold", "fallback")
MAX_POINTS: Final = 1_000_000.0


def read_score(entry: Entry, context: Context, owner: str) -> tuple[tuple[Rule, Place], ...]:
    """Read a document's `score` into the rules that it stands for, each with its place."""
    entries = context.mapping(entry.value, "score", SCORE_KEYS)
    sums = {key: _sum(key, entries, context) for key in ("hold_at", "reject_at")}
    chain = read_fallback(entries["fallback"].value, context) if "fallback" in entries else ()
    hold = read_hold(entries["hold"].value, context, has_fallback=bool(chain)) if "hold" in entries else None
    if not {"hold_at", "reject_at"} & set(entries):
        context.reader.report("E205", "score needs 'hold_at' or 'reject_at'", entry.value.place)
    hold_at, reject_at = sums["hold_at"], sums["reject_at"]
    if hold_at is not None and reject_at is not None and reject_at <= hold_at:
        message = f"reject_at {reject_at:g} must lie above hold_at {hold_at:g}"
        context.reader.report("E220", message, entries["reject_at"].value.place, "or no row is ever held")
    if "hold_at" not in entries:
        for key in {"hold", "fallback"} & set(entries):
            message = f"'{key}' is never used without hold_at"
            context.reader.report("W402", message, entries[key].key, "add hold_at, or remove it", "warning")
    rules = []
    if hold_at is not None:
        place = entries["hold_at"].value.place
        rules.append((_rule(SCORE_HOLD, hold_at, owner, place, context, chain, hold), place))
    if reject_at is not None:
        place = entries["reject_at"].value.place
        rules.append((_rule(SCORE_REJECT, reject_at, owner, place, context), place))
    context.uses()
    return tuple(rules)


def warn_unreachable(scores: Sequence[tuple[Rule, Place]], rules: Sequence[Rule], context: Context) -> None:
    """Warn of a sum that all score rules together do not reach."""
    points = [rule.points for rule in rules if rule.action is Action.SCORE and rule.mode is not Mode.OFF]
    for rule, place in scores:
        if sum(points) < rule.points:
            together = f"all rules with action score together give {sum(points):g} points"
            said = together if points else "no rule has action score"
            key = "hold_at" if rule.id == SCORE_HOLD else "reject_at"
            message = f"{said}: {key} {rule.points:g} is never reached"
            context.reader.report("W410", message, place, "lower it, or give rules more points", "warning")


def _sum(key: str, entries: Mapping[str, Entry], context: Context) -> float | None:
    if key not in entries:
        return None
    return context.reader.number(entries[key].value, f"score.{key}", low=1e-6, high=MAX_POINTS)


def _rule(
    identity: str,
    points: float,
    owner: str,
    place: Place,
    context: Context,
    chain: tuple[FallbackSpec, ...] = (),
    hold: HoldSpec | None = None,
) -> Rule:
    held = identity == SCORE_HOLD
    action = Action.HOLD if held else Action.REJECT
    return Rule(
        id=identity,
        check=Check("score", bound=f"below {points:g} points"),
        phase=Phase.RESPONSE,
        reads_output=True,
        title=f"Weak signals add up to {points:g} points",
        owner=owner,
        severity=Severity.MEDIUM,
        mode=Mode.ENFORCE,
        action=action,
        fallback=chain,
        hold=hold if hold is not None else default_hold(chain),
        counts=frozenset({Verdict.VIOLATED}),
        place=context.locus(place),
        points=points,
        limits=completed({}) if held else (),
        uses=context.uses(),
    )
