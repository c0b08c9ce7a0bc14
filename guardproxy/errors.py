"""The exceptions of guardproxy, sorted by whose fault they are.

An exception here names the fault and its HTTP status once, in the class. Only `proxy` turns one into a
response; everything else either handles the exact type it can mend or lets it pass.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class Fault(StrEnum):
    """Whose mistake an error is."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    OPERATOR = "operator"
    GUARD = "guard"


class GuardproxyError(Exception):
    """The root of every exception that guardproxy raises on purpose."""

    fault: ClassVar[Fault] = Fault.GUARD
    status: ClassVar[int] = 503


class DecodeError(GuardproxyError):
    """A body cannot be read as rows. The message is a sentence without any part of the body's values."""

    fault = Fault.CLIENT
    status = 400
    reason: ClassVar[str] = "undecodable"


class OpaqueError(DecodeError):
    """A body is legal in its protocol but carries no rows that this codec can see (an image, shared memory)."""

    reason = "opaque"


class UnalignedError(DecodeError):
    """A response's rows cannot be matched with the rows of its request."""

    fault = Fault.UPSTREAM
    status = 502
    reason = "unaligned"


class PatchError(GuardproxyError):
    """A replacement cannot be written into this response (text into a numeric tensor, a number out of range).

    `rows` says of each row that could not be written why; it is empty where that holds for the patch as a whole.
    """

    status = 503

    def __init__(self, message: str, rows: Mapping[int, str] | None = None) -> None:
        super().__init__(message)
        self.rows = {} if rows is None else rows


class OperatorError(GuardproxyError):
    """Operator text (a rule file, a profile, the configuration) is invalid. The problems travel beside it."""

    fault = Fault.OPERATOR


class StoreError(GuardproxyError):
    """A store could not do what was asked: it is full, gone or slow. Nothing was acknowledged."""


class ConflictError(GuardproxyError):
    """A change was made from an outdated revision, or the state forbids it."""

    fault = Fault.CLIENT
    status = 409


class NotFoundError(GuardproxyError):
    """No object has this id."""

    fault = Fault.CLIENT
    status = 404
