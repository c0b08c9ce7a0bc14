"""An upstream that answers captured bytes, and what a transparent proxy may change of a captured exchange.

Decides which lines belong to one connection only or are documented as changed on the way; everything else must be the
client's and the server's own, in their order and case.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from tests.harness.upstream import Recorded, RecorderUpstream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.codecs.exchanges import Captured
    from tests.harness.client import Response

_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"proxy-connection", b"via")
)  # fmt: skip
_OURS: Final = re.compile(rb"(guardproxy-[a-z-]+|server-timing)\Z")


class ReplayedUpstream(RecorderUpstream):
    """Answers every request with `response`, in one piece or in pieces of `piece` bytes, and records what it was asked."""

    def __init__(self) -> None:
        super().__init__(self._replay)
        self.response = b""
        self.piece: int | None = None

    async def _replay(self, _request: Recorded, writer: asyncio.StreamWriter) -> None:
        step = self.piece or len(self.response)
        for at in range(0, len(self.response), step):
            writer.write(self.response[at : at + step])
            await asyncio.sleep(0)
        await writer.drain()


def request_changes(sent: Captured, seen: Recorded, *, guarded: bool) -> list[str]:
    """Say what of a client's request did not reach the upstream as it was.

    Via is ours; Host is the client's. A guarded call asks for no coding that the guard cannot undo.
    """
    wanted, got = _end_to_end(sent.lines), _end_to_end(seen.lines)
    if guarded:
        wanted = [_fewer_codings(line, got) for line in wanted]
    said = []
    if seen.request_line != sent.start:
        said.append(f"request line {seen.request_line!r}")
    if got != wanted:
        said.append(f"request lines {got!r}, not {wanted!r}")
    if seen.body != sent.body:
        said.append("the request's body")
    return said


def response_changes(answered: Captured, got: Response) -> list[str]:
    """Say what of an upstream's response did not reach the client as it was.

    Framing is of each connection: where the upstream sent chunks there may be a Content-Length. Date is added where it
    is missing, and decision headers anyway.
    """
    wanted = _end_to_end(answered.lines)
    names = {_name(line) for line in wanted}
    added = {name for name in (b"date", b"content-length") if name not in names}
    lines = [
        line
        for line in _end_to_end(got.lines)
        if _name(line) not in added and not (_OURS.match(_name(line)) and _name(line) not in names)
    ]
    said = []
    if got.status_line != answered.start:
        said.append(f"status line {got.status_line!r}")
    if lines != wanted:
        said.append(f"response lines {lines!r}, not {wanted!r}")
    if got.body != answered.body:
        said.append("the response's body")
    return said


def _end_to_end(lines: Sequence[bytes]) -> list[bytes]:
    return [line for line in lines if _name(line) not in _HOP]


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


def _fewer_codings(line: bytes, got: Sequence[bytes]) -> bytes:
    """A line as a guarded call may have it: of the codings that a client takes, in its order, those that were left."""
    if _name(line) != b"accept-encoding":
        return line
    name, _, offered = line.partition(b": ")
    left = next((other.partition(b": ")[2] for other in got if _name(other) == b"accept-encoding"), b"")
    kept = [coding for coding in offered.split(b", ") if coding in left.split(b", ")]
    readable = all(coding in kept for coding in offered.split(b", ") if coding in (b"gzip", b"deflate"))
    return b"%b: %b" % (name, b", ".join(kept)) if readable and kept else line
