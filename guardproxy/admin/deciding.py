"""A person's decision on its way to the store.

Decides what is checked before the state machine is asked: the reason, the values as JSON or as form text, and the enforced
rules that an override would violate. API and console both come through here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from guardproxy.admin.access import Principal
from guardproxy.admin.problems import ProblemError
from guardproxy.admin.services import AdminServices
from guardproxy.admin.tokens import Role
from guardproxy.admin.views import REASONS
from guardproxy.errors import ConflictError
from guardproxy.holds import Approve, Event, Hold, Override, OverrideError, Reject, State, Undo, settle
from guardproxy.stores import apply_event
from guardproxy.table import Cell

MAX_NOTE: Final = 2_000
MAX_ITEMS: Final = 10_000
_WORDS: Final[Mapping[str, bool]] = {
    "true": True,
    "yes": True,
    "1": True,
    "false": False,
    "no": False,
    "0": False,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for, not yet checked against the hold."""

    decision: str
    values: Mapping[str, Cell] = field(default_factory=dict)
    reason: str = ""
    note: str = ""
    force: bool = False


async def decide(
    services: AdminServices, principal: Principal, hold_id: str, wish: Wish, expected_rev: int
) -> Hold:
    """Apply a decision made on revision `expected_rev`. Raises ProblemError 403, 409, 412 or 422, and store errors."""
    _check_words(wish)
    hold = await services.store.get(hold_id)
    if hold.rev != expected_rev:
        raise outdated(hold, expected_rev)
    if wish.decision == "override":
        _check_rules(services, principal, hold, wish)
    return await _apply(services, hold, _event(principal, wish), expected_rev)


async def undo(services: AdminServices, principal: Principal, hold_id: str, expected_rev: int | None) -> Hold:
    """Take a decision back. Raises ProblemError 409 or 412, and store errors."""
    hold = await services.store.get(hold_id)
    if expected_rev is not None and hold.rev != expected_rev:
        raise outdated(hold, expected_rev)
    return await _apply(services, hold, Undo(principal.name), hold.rev)


def outdated(hold: Hold, expected_rev: int) -> ProblemError:
    """Return the 412 that says what happened to the hold meanwhile."""
    return ProblemError(412, f"{_now(hold)} (revision {hold.rev}, not {expected_rev})", **_facts(hold))


def cells_from_json(values: object) -> dict[str, Cell]:
    """Read `values` of a JSON body as cells. Raises ProblemError 422."""
    if not isinstance(values, dict):
        raise ProblemError(422, "`values` must be an object from prediction to value")
    return {name: _cell(name, value) for name, value in values.items()}


def cells_from_form(hold: Hold, fields: Mapping[str, str]) -> tuple[dict[str, Cell], dict[str, str]]:
    """Read form text as cells of the kinds that the hold's predictions have; return (cells, problem by field)."""
    cells: dict[str, Cell] = {}
    problems: dict[str, str] = {}
    for name, original in hold.original.items():
        if name not in fields:
            continue
        try:
            cells[name] = parse_cell(original, fields[name])
        except ValueError as error:
            problems[name] = str(error)
    return cells, problems


def parse_cell(original: Cell, text: str) -> Cell:
    """Read text as the kind of value that `original` is. Raises ValueError with what to write instead."""
    if isinstance(original, str):
        return text.replace("\r\n", "\n")
    text = text.strip()
    if isinstance(original, bool):
        if text.lower() not in _WORDS:
            raise ValueError("write true or false")
        return _WORDS[text.lower()]
    if isinstance(original, tuple):
        return tuple(_number(part) for part in text.strip("[]").split(","))
    return _number(text)


def _check_words(wish: Wish) -> None:
    if wish.decision not in REASONS:
        raise ProblemError(422, f"`decision` must be one of {', '.join(REASONS)}")
    known = REASONS[wish.decision]
    if wish.reason not in known and (wish.reason or wish.decision != "approve"):
        raise ProblemError(422, f"`reason` must be one of {', '.join(known)}")
    if len(wish.note) > MAX_NOTE:
        raise ProblemError(422, f"`note` may have at most {MAX_NOTE} characters")


def _check_rules(services: AdminServices, principal: Principal, hold: Hold, wish: Wish) -> None:
    if wish.force and not principal.may(Role.OPERATOR):
        raise ProblemError(403, f"`force` needs the role {Role.OPERATOR.word}")
    if wish.force or hold.state is not State.OPEN:
        return
    # The machine first says whether the values can stand at all, so that rules never see one of the wrong kind.
    after = settle(hold, _event(principal, wish), at=services.clock(), undo_s=services.undo_s)
    violated = services.check_override(hold, after.final or {})
    if violated:
        raise ProblemError(
            422,
            f"the value violates {', '.join(violated)}; an operator may force it",
            violated=list(violated),
        )


def _event(principal: Principal, wish: Wish) -> Event:
    name, reason, note = principal.name, wish.reason, wish.note
    if wish.decision == "override":
        forced = f"{reason} (forced)" if wish.force else reason
        return Override(name, wish.values, forced, note)
    return Approve(name, reason, note) if wish.decision == "approve" else Reject(name, reason, note)


async def _apply(services: AdminServices, hold: Hold, event: Event, rev: int) -> Hold:
    try:
        after = await apply_event(
            services.store, hold.id, event, at=services.clock(), undo_s=services.undo_s, expected_rev=rev
        )
    except OverrideError:
        raise
    except ConflictError as error:
        now = await services.store.get(hold.id)
        if now.rev != rev:
            raise outdated(now, rev) from error
        raise ProblemError(409, str(error), **_facts(now)) from error
    services.changed(after)
    return after


def _now(hold: Hold) -> str:
    if hold.state is State.EXPIRED:
        return "this expired before your decision came"
    if hold.resolution is not None:
        return f"already decided: {hold.resolution} by {hold.by}"
    return "this hold has changed since you read it"


def _facts(hold: Hold) -> dict[str, Any]:
    return {"rev": hold.rev, "state": hold.state, "resolution": hold.resolution, "decided_by": hold.by}


def _cell(name: str, value: object) -> Cell:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list) and len(value) <= MAX_ITEMS and all(_is_number(item) for item in value):
        return tuple(value)
    raise ProblemError(422, f"`values`: {name!r} must be a number, text, true, false or a list of numbers")


def _is_number(item: object) -> bool:
    return isinstance(item, (int, float)) and not isinstance(item, bool)


def _number(text: str) -> float | int:
    text = text.strip()[:400]
    try:
        value = json.loads(text.removeprefix("+"))
    except ValueError:
        raise ValueError(
            f"write a number such as 12.5 (got {text[:40]!r})" if text else "write a number"
        ) from None
    if not _is_number(value):
        raise ValueError("write a number such as 12.5")
    return value  # type: ignore[no-any-return]
