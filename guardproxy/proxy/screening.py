"""From the bytes of a request or a response to what the guard makes of them.

Decides what of a body is read (decompressed within bounds, whole), what of an opaque request can be judged, and what becomes
of a patch that the response cannot take. Computes only: may run in a thread. What a client gets is left to `exchange` and to
`grpc`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

import structlog

from guardproxy.codecs import compress, decompress
from guardproxy.codecs.patching import CLAMP
from guardproxy.decision import Decision, FailureMode, FailurePolicy, Reason, Replacement, RequestFacts
from guardproxy.errors import DecodeError, OpaqueError, PatchError
from guardproxy.guard import Guard, Past, Screening, screen_request, screen_response
from guardproxy.guard.fallbacks import MAX_CANDIDATES, Misfit, Misfits
from guardproxy.guard.resolve import withhold
from guardproxy.guard.screen import Screened, judge_screened
from guardproxy.guard.unseen import Unseen, judge_unseen, screen_unseen
from guardproxy.message import Message
from guardproxy.proxy.headers import JSON_LENGTH, asks_by_query, patched_lines
from guardproxy.stats.snapshot import NO_CELLS
from guardproxy.table import Cell, Table
from guardproxy.wire import Header, RequestHead, ResponseHead, UpstreamResponse

log = structlog.get_logger("guardproxy.proxy")

MAX_RATIO: Final = 100
MAX_DIGITS: Final = 12
FORM: Final = "application/x-www-form-urlencoded"

_ROUNDS: Final = MAX_CANDIDATES + 2
"""A row has a clamp and so many candidates that its response may refuse, one in each round."""

Asked: TypeAlias = Screening | Unseen
"""What is known of a request that goes to the model."""


class Answer(NamedTuple):
    """A judged response. `body` are the bytes to serve, `lines` the head's own lines where they had to change with it."""

    screened: Screened
    body: bytes
    lines: list[Header] | None = None


def read_and_screen(
    guard: Guard,
    head: RequestHead,
    body: bytes,
    max_body: int,
    facts: RequestFacts,
    past: Past,
    demoted: frozenset[str],
    policy: FailurePolicy,
    recent: Mapping[str, Cell] = NO_CELLS,
) -> Asked:
    """Judge a request of at most `max_body` bytes; see `screen_message`."""
    message = request_message(guard, head, body, max_body)
    return screen_message(guard, message, facts, past, demoted, policy, recent)


def screen_and_patch(
    guard: Guard, asked: Asked, response: UpstreamResponse, max_body: int, decision_id: str
) -> Answer:
    """Judge a response of at most `max_body` bytes. Raises DecodeError where it cannot be read.

    A patched body gets the content coding that the response came in.
    """
    head = response.head
    if head.until_close:
        raise DecodeError("the end of the response cannot be told from a cut")
    message = message_of(head, response.body, max_body)
    screened, patched = screen_and_patch_message(guard, asked, message, decision_id)
    if patched is message:
        return Answer(screened, response.body)
    body = compress(patched.body, _codings(head))
    return Answer(screened, body, patched_lines(head, body, patched.json_length))


def screen_message(
    guard: Guard,
    message: Message,
    facts: RequestFacts,
    past: Past,
    demoted: frozenset[str],
    policy: FailurePolicy,
    recent: Mapping[str, Cell] = NO_CELLS,
) -> Asked:
    """Judge a request; `recent` holds what rolling functions give. Raises DecodeError where it cannot be read.

    Where the policy lets it, a request whose rows cannot be seen goes on, and what is known of it comes back.
    """
    try:
        return screen_request(guard, message, facts, past, demoted, recent)
    except OpaqueError:
        if policy.of(Reason.OPAQUE) is FailureMode.OPEN:
            return Unseen(facts, message.identity or message.body, demoted)
        raise


def screen_and_patch_message(
    guard: Guard, asked: Asked, message: Message, decision_id: str
) -> tuple[Screened, Message]:
    """Judge a response; return the decision and the message to serve, the same object where nothing changes.

    A replacement that the response cannot take (a number for a text, 3.5 for a whole number) is refused like one that a
    rule speaks against, and the next is tried; a row for which none is left is withheld. Raises DecodeError where the
    response cannot be read.
    """
    if isinstance(asked, Unseen):
        screened = screen_unseen(guard, asked, message)
    else:
        screened = screen_response(guard, asked, message)
    if not _writes(screened.decision):
        return screened, message
    return _patched(guard, asked, screened, message, decision_id)


def _patched(
    guard: Guard, asked: Asked, screened: Screened, message: Message, decision_id: str
) -> tuple[Screened, Message]:
    decision, predictions = screened
    misfits: dict[int, tuple[Misfit, ...]] = {}
    for _ in range(_ROUNDS):
        try:
            patched = guard.codec.splice(message, predictions.rows, decision.patch)
        except PatchError as error:
            log.warning("patch.refused", model=guard.model, decision=decision_id, detail=str(error))
            _note(misfits, decision.patch, error)
            decision = _judged_again(guard, asked, predictions, misfits)
            if not _writes(decision):
                return Screened(decision, predictions), message
        else:
            return Screened(_as_written(guard, decision, patched), predictions), patched
    return Screened(withhold(decision, tuple(misfits)), predictions), message


def request_message(guard: Guard, head: RequestHead, body: bytes, max_body: int) -> Message:
    """Return what a codec needs of a request: its body, or its query where the protocol has rows there.

    Raises DecodeError where the body cannot be decompressed within bounds, or where both may hold rows.
    """
    identity = head.get(b"idempotency-key") or b""
    if b"?" in head.target and "GET" in guard.codec.methods and asks_by_query(head.target):
        if body:
            raise DecodeError("the request has rows in its query and in its body")
        return Message(head.target.partition(b"?")[2], FORM, identity)
    return message_of(head, body, max_body, identity)


def message_of(
    head: RequestHead | ResponseHead, body: bytes, max_body: int, identity: bytes = b""
) -> Message:
    """Return what a codec needs of a message. Raises DecodeError where its body cannot be decompressed within bounds."""
    content_type = head.get(b"content-type")
    length = head.get(JSON_LENGTH)
    if head.get(b"content-encoding") is not None:
        body = decompress(body, _codings(head), max_bytes=max_body, max_ratio=MAX_RATIO)
    return Message(
        body,
        None if content_type is None else content_type.decode("latin-1"),
        identity,
        None if length is None else _length(head.all(JSON_LENGTH)),
    )


def _length(values: list[bytes]) -> int:
    value = values[0]
    # Two lines that disagree would let the guard see another message than the server does.
    agreed = len(values) == 1 or set(values) == {value}
    return int(value) if agreed and value.isdigit() and len(value) < MAX_DIGITS else -1


def _codings(head: RequestHead | ResponseHead) -> str:
    return b", ".join(head.all(b"content-encoding")).decode("latin-1")


def _writes(decision: Decision) -> bool:
    return bool(decision.patch) and not decision.rejected and not decision.withheld


def _note(misfits: dict[int, tuple[Misfit, ...]], patch: tuple[Replacement, ...], error: PatchError) -> None:
    """Add what did not fit: what the error names, else all of the patch."""
    for one in patch:
        if not error.rows or one.row in error.rows:
            why = error.rows.get(one.row, str(error))
            misfits[one.row] = (*misfits.get(one.row, ()), Misfit(one.source, one.values, why))


def _judged_again(guard: Guard, asked: Asked, predictions: Table, misfits: Misfits) -> Decision:
    if isinstance(asked, Unseen):
        return judge_unseen(guard, asked, predictions, misfits)
    return judge_screened(guard, asked, predictions, misfits)


def _as_written(guard: Guard, decision: Decision, patched: Message) -> Decision:
    """Say in the decision what the client reads: a bound between two whole numbers is written as one of them."""
    broken = [
        one for one in decision.patch if one.source == CLAMP and not all(map(_is_whole, one.values.values()))
    ]
    if not broken:
        return decision
    table = guard.codec.decode_response(patched, decision.rows)
    written = {one.row: {name: table.cell(name, one.row) for name in one.values} for one in broken}
    patch = tuple(
        replace(one, values=_values(written, one)) if one.source == CLAMP else one for one in decision.patch
    )
    return replace(decision, patch=patch)


def _values(written: Mapping[int, Mapping[str, Cell]], one: Replacement) -> Mapping[str, Cell]:
    return written.get(one.row, one.values)


def _is_whole(cell: Cell) -> bool:
    return not isinstance(cell, float) or cell.is_integer()
