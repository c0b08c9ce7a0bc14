"""What a codec is: the words that the rest of guardproxy uses to read and patch a message.

Decides the interface and its options. Which container holds the rows of a message is left to `codec`, how bytes are read
to the containers, where rows stand to the presets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from guardproxy.codecs.signature import Signature
from guardproxy.decision import Replacement
from guardproxy.message import Message
from guardproxy.table import Table


@dataclass(frozen=True, slots=True)
class CodecOptions:
    """What a route says about its messages.

    `features` names the columns of a bare matrix; without it the model's `signature` does, then `profile_order`, each when
    the width agrees, else the columns are called f0, f1, ... `outputs` renames the predictions in order. The pointers (JSON
    Pointers, RFC 6901; the empty one is the whole document) are read by `protocol: json` only; `request_fields` and
    `response_fields` pick cells from each row, as pairs of a name and a pointer from the row. Without `batch_axis` a V2
    tensor's first axis does not count rows: every message is one row. More than `max_rows` rows, or values nested deeper
    than `max_depth`, make a body undecodable.
    """

    features: tuple[str, ...] = ()
    profile_order: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    signature: Signature | None = None
    request_rows: str = ""
    request_columns: str = ""
    request_fields: tuple[tuple[str, str], ...] = ()
    response_rows: str = ""
    response_columns: str = ""
    response_fields: tuple[tuple[str, str], ...] = ()
    batch_axis: bool = True
    max_rows: int = 100_000
    max_depth: int = 64


class Container(Protocol):
    """One way in which bytes hold rows. May be shared by threads.

    What it remembers of messages (names, heads) is bounded, spares it work, and never changes what another one means.
    """

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request. Raises DecodeError (OpaqueError when it is legal but not visible)."""
        ...

    def decode_response(self, message: Message, rows: int | None) -> Table:
        """Return the predictions of a response to a request of `rows` rows; None when the request could not be seen, and
        the response says how many it has.

        Raises DecodeError when it cannot be read, UnalignedError when its rows cannot be matched with the request's.
        """
        ...

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:
        """Return the response with the replaced cells in its body and every other byte as it was.

        The same message object when nothing changes. Raises PatchError when a replacement cannot be written.
        """
        ...


class Codec(Container, Protocol):
    """One protocol's way between bytes and rows."""

    @property
    def name(self) -> str:
        """The protocol's name in the configuration."""
        ...

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that ask for predictions, unless a route says otherwise."""
        ...

    @property
    def final(self) -> tuple[tuple[bytes, bytes], ...]:
        """The header lines that keep the protocol's clients from asking again for an answer that is held back."""
        ...

    def error(self, status: int, text: str) -> tuple[bytes, bytes]:
        """Return (content type, body) of an error in the protocol's own shape."""
        ...

    def replacement_problem(self, message: Message, rows: int, replacement: Replacement) -> str | None:
        """Say why a replacement cannot be written into this response; None when it can."""
        ...
