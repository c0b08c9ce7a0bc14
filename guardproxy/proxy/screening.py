"""From the bytes of a request or a response to what the guard makes of them.

Decides what of a body is read (decompressed within bounds, whole) and what becomes of a patch that the response cannot take.
Computes only: may run in a thread. What a client gets is left to `exchange`.
"""

from typing import Final

import structlog

from guardproxy.codecs import decompress
from guardproxy.decision import RequestFacts
from guardproxy.errors import DecodeError, PatchError
from guardproxy.guard import Guard, Past, Screening, screen_request, screen_response
from guardproxy.guard.resolve import withhold
from guardproxy.guard.screen import Screened
from guardproxy.message import Message
from guardproxy.wire import RequestHead, ResponseHead, UpstreamResponse

log = structlog.get_logger("guardproxy.proxy")

MAX_RATIO: Final = 100
MAX_DIGITS: Final = 12


def read_and_screen(
    guard: Guard,
    head: RequestHead,
    body: bytes,
    max_body: int,
    facts: RequestFacts,
    past: Past,
    demoted: frozenset[str],
) -> Screening:
    """Judge a request of at most `max_body` bytes. Raises DecodeError where it cannot be read."""
    message = message_of(head, body, max_body, head.get(b"idempotency-key") or b"")
    return screen_request(guard, message, facts, past, demoted)


def screen_and_patch(
    guard: Guard, screening: Screening, response: UpstreamResponse, max_body: int, decision_id: str
) -> tuple[Screened, bytes]:
    """Judge a response of at most `max_body` bytes; return the decision and the body to serve. Raises DecodeError where it cannot be read."""
    head = response.head
    if head.until_close:
        raise DecodeError("the end of the response cannot be told from a cut")
    message = message_of(head, response.body, max_body)
    screened = screen_response(guard, screening, message)
    decision = screened.decision
    if not decision.patch or decision.rejected or decision.withheld:
        return screened, response.body
    rows = screening.table.rows
    try:
        return screened, guard.codec.splice(message, rows, decision.patch).body
    except PatchError as error:
        # A response that cannot take a value (a number for a text): its row is withheld.
        log.warning("patch.refused", model=guard.model, decision=decision_id, detail=str(error))
        codec = guard.codec
        failing = [patch.row for patch in decision.patch if codec.replacement_problem(message, rows, patch)]
        held_back = withhold(decision, tuple(failing) or tuple(patch.row for patch in decision.patch))
        return Screened(held_back, screened.predictions), message.body


def message_of(
    head: RequestHead | ResponseHead, body: bytes, max_body: int, identity: bytes = b""
) -> Message:
    """Return what a codec needs of a message. Raises DecodeError where its body cannot be decompressed within bounds."""
    content_type = head.get(b"content-type")
    length = head.get(b"inference-header-content-length")
    return Message(
        _plain(body, head.get(b"content-encoding"), max_body),
        None if content_type is None else content_type.decode("latin-1"),
        identity,
        None if length is None else _length(length),
    )


def _length(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) < MAX_DIGITS else -1


def _plain(body: bytes, coding: bytes | None, limit: int) -> bytes:
    if coding is None:
        return body
    return decompress(body, coding.decode("latin-1"), max_bytes=limit, max_ratio=MAX_RATIO)
