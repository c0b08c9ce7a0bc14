"""V2 tensors whose values servers may take for others than those that stand in the message.

Decides what is refused because of it: a number in JSON that the tensor's datatype cannot hold (numpy cuts 1.7 down to 1, and
makes an infinity of 1e300), a data frame's column with several values in a row (servers make a row of each), and text in
base64, which only some undo. How tensors are read is left to the containers.
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from guardproxy.codecs.cells import WHOLE_RANGES, plain_block
from guardproxy.codecs.json_text import as_object
from guardproxy.codecs.layouts import Values
from guardproxy.codecs.tensors import Tensor
from guardproxy.errors import DecodeError, OpaqueError

CONTENT_TYPE: Final = "content_type"
"""The parameter, of a request or a tensor, that tells MLServer and KServe how to read it."""

FRAME: Final = "pd"
"""A request that is a data frame, each tensor a column."""

BASE64: Final = "base64"

NOT_HELD: Final = "a value lies outside its tensor's datatype"
IN_BASE64: Final = "a tensor's texts are in base64, which only some servers undo"

_BEYOND: Final = {"FP16": 65520.0, "FP32": float(2**128 - 2**103)}
"""The smallest number that each type rounds to infinity."""

_FEW: Final = 64
"""So many values are looked at one by one as fast as in a block."""

ALL_HELD: Final = frozenset({"FP32", "FP64", "BYTES", "BOOL"})
"""The types that hold every number below 2**53, as far as they hold numbers."""


def check_numbers(datatype: str, values: Values) -> None:
    """Raise DecodeError when a value in JSON is a number that the datatype cannot hold; text and gaps are not looked at."""
    whole, beyond = WHOLE_RANGES.get(datatype), _BEYOND.get(datatype)
    if whole is None and beyond is None:
        return
    block = values if isinstance(values, np.ndarray) else plain_block(values) if len(values) > _FEW else None
    if block is not None:
        fits = _fits_block(block, whole, beyond)
    else:
        numbers = [value for value in values if type(value) is int or type(value) is float]
        if whole is not None:
            low, high = whole
            fits = all(low <= one <= high and one == one // 1 for one in numbers if one == one)
        else:
            fits = not any(beyond <= abs(number) < np.inf for number in numbers)  # type: ignore[operator] # has one
    if not fits:
        raise DecodeError(NOT_HELD)


def check_row(datatypes: Sequence[str], numbers: Sequence[float]) -> None:
    """Do the same for one number of each datatype, all of them finite and below 2**53."""
    for datatype, number in zip(datatypes, numbers, strict=True):
        whole = WHOLE_RANGES.get(datatype)
        if whole is None:
            fits = datatype != "FP16" or abs(number) < _BEYOND["FP16"]
        else:
            fits = whole[0] <= number <= whole[1] and not number % 1
        if not fits:
            raise DecodeError(NOT_HELD)


def _fits_block(block: Any, whole: tuple[int, int] | None, beyond: float | None) -> bool:
    if not block.size:
        return True
    if whole is None:
        sizes = np.abs(block)
        return not bool(((sizes >= beyond) & (sizes < np.inf)).any())
    if not bool(((np.trunc(block) == block) | np.isnan(block)).all()):
        return False
    low, high = whole
    # Of NaN alone the extremes are NaN, and neither beyond the bounds.
    return not (np.fmin.reduce(block) < low or np.fmax.reduce(block) > high)


def check_frame(root: Mapping[str, Any], tensors: Iterable[Tensor]) -> None:
    """Raise DecodeError when a request is a data frame, and one of its columns has several values in a row.

    MLServer and KServe go by a column's flat values and not by its shape.
    """
    if content_type_of(root) == FRAME:
        check_columns(tensors)


def check_columns(tensors: Iterable[Tensor]) -> None:
    """Raise DecodeError when a column of a data frame has several values in a row, one after the other."""
    if any(tensor.width != 1 and not tensor.nested for tensor in tensors):
        raise DecodeError("a column of a data frame has more than one value in a row")


def content_type_of(holder: Mapping[str, Any]) -> Any:
    """Return the content type among the parameters of a message or a tensor; None without. Raises DecodeError."""
    parameters = holder.get("parameters")
    if not isinstance(parameters, dict) or CONTENT_TYPE not in parameters:
        return None
    return as_object(parameters, "the parameters")[CONTENT_TYPE]


def check_base64(tensor: Mapping[str, Any], values: Values) -> None:
    """Raise OpaqueError when a tensor says that its texts are in base64, and one is: what is none is left as it stands."""
    if (
        tensor.get("datatype") == "BYTES"
        and content_type_of(tensor) == BASE64
        and any(map(_is_base64, values))
    ):
        raise OpaqueError(IN_BASE64)


def _is_base64(value: Any) -> bool:
    if type(value) is not str or not value.isascii():
        return False
    try:
        b64decode(value, validate=True)
    except binascii.Error:
        return False
    return value != ""
