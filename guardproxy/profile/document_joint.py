"""The joint check in the profile's document, both ways.

Decides that its arrays are written as the float32 they are, in base64, at the end of the file: nobody reads them, and every bit
comes back. What they mean is left to `joint`.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from guardproxy.profile.document_lines import cell_of, list_of
from guardproxy.profile.document_take import Taker
from guardproxy.profile.joint import (
    LEAST_THRESHOLD,
    MAX_CENTRES,
    MAX_JOINT_FIELDS,
    MAX_JOINT_KNOTS,
    MOST_THRESHOLD,
    Joint,
    Scorer,
    Singles,
)
from guardproxy.profile.model import FieldProfile
from guardproxy.source import Node, Reader, Scalar

JOINT_KEYS: Final = (
    "fields", "threshold", "alpha", "proved", "rows", "held", "near", "middle", "values", "scores", "covariance", "units",
    "centres",
)  # fmt: skip
_PLAIN: Final = ("threshold", "alpha", "proved", "rows", "held", "near", "middle")
_ARRAYS: Final = ("values", "scores", "covariance", "units", "centres")
_LONGEST: Final = 600_000
"""More characters than the largest array has: the covariance of MAX_JOINT_FIELDS fields, or as many centres."""

_WIDTH: Final = 100
_COMMENT: Final = """\
# The joint check: whether the numbers of a row fit together. A row whose misfit is above the threshold is flagged, and at most a
# share `alpha` of clean rows is, counting those outside the bounds above. Set the threshold higher to flag fewer rows; remove all below `joint` to flag none.
# The arrays are little-endian float32 in base64, and only good together: learn again to change them.
"""
_LEARN: Final = "copy it whole from where the profile was learned, or learn again"


def joint_lines(joint: Joint, *, comments: bool) -> Iterator[str]:
    """Yield the lines of a joint check."""
    if comments:
        yield from _COMMENT.splitlines()
    yield "joint:"
    yield f"  fields: {list_of(joint.fields)}"
    for key in _PLAIN:
        yield f"  {key}: {cell_of(getattr(joint, key))}"
    for key in _ARRAYS:
        yield f"  {key}: |-"
        text = base64.b64encode(getattr(joint, key).astype("<f4").tobytes()).decode()
        yield from (f"    {text[at : at + _WIDTH]}" for at in range(0, len(text), _WIDTH))


def read_joint(node: Node, features: Mapping[str, FieldProfile], reader: Reader) -> Joint | None:
    """Read a joint check of some of these features. None, with problems, for what can be none."""
    before = len(reader.problems)
    entries = reader.mapping(node, "joint", JOINT_KEYS, JOINT_KEYS)
    found = Taker(reader, "joint", entries)
    found.take(reader.texts, "fields")
    found.take(reader.number, "threshold", low=LEAST_THRESHOLD, high=MOST_THRESHOLD)
    found.take(reader.number, "near", "middle", low=0.0, high=1e12)
    found.take(reader.number, "alpha", low=1e-12, high=0.5)
    found.take(reader.integer, "rows", "held")
    found.take(reader.flag, "proved")
    if len(reader.problems) > before or len(found.values) < len(JOINT_KEYS) - len(_ARRAYS):
        return None
    names: tuple[str, ...] = found.values["fields"]
    wrong = _wrong_names(names, features)
    if wrong:
        reader.report("E207", f"joint.fields {wrong}", entries["fields"].value.place)
        return None
    for key in _ARRAYS:
        array = _array(entries[key].value, key, len(names), reader)
        if array is None:
            return None
        found.values[key] = array
    joint = Joint(**found.values)
    broken = _broken(joint)
    if broken:
        key, message = broken
        reader.report("E208", f"joint.{key} {message}", entries[key].value.place, _LEARN)
        return None
    return joint


def _wrong_names(names: tuple[str, ...], features: Mapping[str, FieldProfile]) -> str:
    if not 2 <= len(names) <= MAX_JOINT_FIELDS or len(set(names)) < len(names):
        return f"must be 2 to {MAX_JOINT_FIELDS} different features"
    strange = [name for name in names if name not in features or not features[name].numeric]
    return f"must be number features of this profile, which '{strange[0]}' is not" if strange else ""


def _array(node: Node, key: str, fields: int, reader: Reader) -> Singles | None:
    """Read an array, whose shape follows from the number of fields."""
    text = node.value if isinstance(node, Scalar) and isinstance(node.value, str) else ""
    message = ""
    array: Singles = np.empty(0, dtype=np.float32)
    try:
        packed = "".join(text.split()) if len(text) <= _LONGEST else "?"
        array = np.frombuffer(base64.b64decode(packed, validate=True), dtype="<f4")
    except (binascii.Error, ValueError):
        message = "must be numbers of four bytes in base64"
    rows, columns = _SHAPES[key](fields, len(array))
    if not message and (rows < 1 or columns < 1 or rows * columns != len(array)):
        message = f"has {len(array):,} numbers, which do not fit {fields} fields"
    if not message and not np.isfinite(array).all():
        message = "has a number that is not finite"
    if message:
        reader.report("E208", f"joint.{key} {message}", node.place, _LEARN)
        return None
    found = array.astype(np.float32).reshape((columns,) if key == "units" else (rows, columns))
    found.flags.writeable = False
    return found


_SHAPES: Final[Mapping[str, Any]] = {
    "values": lambda fields, count: (fields, min(count // fields, MAX_JOINT_KNOTS)),
    "scores": lambda fields, count: (fields, min(count // fields, MAX_JOINT_KNOTS)),
    "covariance": lambda fields, count: (fields, fields),  # noqa: ARG005 - one signature for all arrays
    "units": lambda fields, count: (1, fields),  # noqa: ARG005
    "centres": lambda fields, count: (min(count // fields, MAX_CENTRES), fields),
}


def _broken(joint: Joint) -> tuple[str, str] | None:
    """Return which array does not hold what it must, and what is wrong with it."""
    if joint.values.shape[1] < 2 or (np.diff(joint.values, axis=1) < 0.0).any():
        return "values", "must have two knots or more, which never fall"
    if (joint.values[:, 0] == joint.values[:, -1]).any():
        return "values", "must vary in every field"
    if joint.scores.shape != joint.values.shape or (np.diff(joint.scores, axis=1) < 0.0).any():
        return "scores", "must be as many as the values, and never fall"
    if (joint.units <= 0.0).any():
        return "units", "must be above zero"
    if not np.array_equal(joint.covariance, joint.covariance.T):
        return "covariance", "must be symmetric"
    try:
        Scorer(joint)
    except ValueError:
        return "covariance", "must have an inverse"
    return None
