"""What a codec is: the words that the rest of guardproxy uses to read and patch a message.

Decides the interface and its options. How bytes are read is left to `json_text`, where rows stand in a message to the
protocol modules, what may be written into a cell to `cells`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from guardproxy.decision import Replacement
from guardproxy.message import Message
from guardproxy.table import Table


@dataclass(frozen=True, slots=True)
class CodecOptions:
    """What a route says about its messages.

    `features` names the columns of a bare matrix; without it `profile_order` does when the width agrees, else the
    columns are called f0, f1, ... `outputs` renames the predictions in order. The three JSON Pointers (RFC 6901; the
    empty pointer is the whole document) are read by `protocol: json` only. More than `max_rows` rows, or values nested
    deeper than `max_depth`, make a body undecodable.
    """

    features: tuple[str, ...] = ()
    profile_order: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    request_rows: str = ""
    request_columns: str = ""
    response_rows: str = ""
    max_rows: int = 100_000
    max_depth: int = 64


class Codec(Protocol):
    """One protocol's way between bytes and rows. A codec keeps no state between calls and may be shared by threads."""

    @property
    def name(self) -> str:
        """The protocol's name in the configuration."""
        ...

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request. Raises DecodeError (OpaqueError when it is legal but not visible)."""
        ...

    def decode_response(self, message: Message, rows: int) -> Table:
        """Return the predictions of a response to a request of `rows` rows.

        Raises DecodeError when it cannot be read, UnalignedError when its rows cannot be matched with the request's.
        """
        ...

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> bytes:
        """Return the response's body with the replaced cells in it and every other byte as it was.

        An empty patch returns `message.body`, the same object. Raises PatchError when a replacement cannot be written.
        """
        ...

    def error(self, status: int, text: str) -> tuple[bytes, bytes]:
        """Return (content type, body) of an error in the protocol's own shape."""
        ...

    def replacement_problem(self, message: Message, rows: int, replacement: Replacement) -> str | None:
        """Say why a replacement cannot be written into this response; None when it can."""
        ...
