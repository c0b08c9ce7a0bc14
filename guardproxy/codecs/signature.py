"""A model's signature: the names and types of its inputs and outputs, as its server or its files tell them.

Decides how V2 model metadata and MLflow signatures become one value, and what is said of a text that is neither. Where the
text comes from, and what names and types are used for, is left to others.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from guardproxy.codecs.cells import TENSOR_KINDS
from guardproxy.documents import parse_documents
from guardproxy.source import MappingNode, Node, SequenceNode, clean

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_COLUMNS: Final = 10_000
MAX_NAME: Final = 200
MAX_WIDTH: Final = 2**31 - 1

MAX_AXES: Final = 32
"""As many as numpy has had."""

DATATYPES: Final = tuple(TENSOR_KINDS)
"""The types of the Open Inference Protocol."""


@dataclass(frozen=True, slots=True)
class Column:
    """One input or output: a V2 datatype (FP64, INT64, BYTES, ...) and how many values it has in each row.

    A `width` of 0 says that this differs from row to row, or is not told.
    """

    name: str
    datatype: str
    width: int = 1


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, in order."""

    inputs: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()


def read_signature(text: str, name: str) -> Signature:
    """Read V2 model metadata (JSON), an MLflow `MLmodel` file (YAML) or the signature out of one (JSON).

    `name` is what the text is called in the sentence of the ValueError that is raised when it is none of them, says
    nothing of inputs and outputs, or is larger than 4 MiB. Columns without a name are called f0, f1, ... among the inputs,
    and prediction, or prediction_0, prediction_1, ..., among the outputs.
    """
    try:
        return _signature(_read(text))
    except _UnfitError as error:
        raise ValueError(clean(f"{name}: {error}")) from None


class _UnfitError(Exception):
    """What is wrong with a text, as the end of a sentence that begins with the text's name. Never leaves this module."""


def _signature(root: Any) -> Signature:
    """Take the signature from an MLmodel file's mapping, or from one that has inputs and outputs itself."""
    where = ""
    if not isinstance(root, dict):
        raise _UnfitError(f"holds {_kind(root)}, not an MLmodel file or a V2 model's metadata")
    if not root.keys() & {"inputs", "outputs"}:
        told = root.get("signature")
        if told is None:
            raise _UnfitError("has no signature: neither 'inputs' nor 'outputs' stand in it")
        if not isinstance(told, dict):
            raise _UnfitError(f"the signature must be a mapping, not {_kind(told)}")
        root, where = told, "signature."
    found = Signature(*(_columns(root.get(key), f"{where}{key}", key) for key in ("inputs", "outputs")))
    if found == Signature():
        raise _UnfitError("tells no inputs and no outputs")
    return found


def _columns(told: Any, where: str, side: str) -> tuple[Column, ...]:
    """Read one side of a signature: a list, or (MLflow) a list as JSON text. Nothing told is an empty one."""
    if isinstance(told, str):
        told = _inner(told, where)
    if told is None:
        return ()
    if not isinstance(told, list):
        raise _UnfitError(f"{where} must be a list, not {_kind(told)}")
    if len(told) > MAX_COLUMNS:
        raise _UnfitError(f"{where} has more than {MAX_COLUMNS:,} entries")
    columns = tuple(
        _column(item, f"{where}[{at}]", _unnamed(side, at, len(told))) for at, item in enumerate(told)
    )
    seen: set[str] = set()
    for at, column in enumerate(columns):
        if column.name in seen:
            raise _UnfitError(f"{where}[{at}] has the name '{column.name}' of one before it")
        seen.add(column.name)
    return columns


def _unnamed(side: str, at: int, count: int) -> str:
    if side == "inputs":
        return f"f{at}"
    return "prediction" if count == 1 else f"prediction_{at}"


def _column(item: Any, where: str, unnamed: str) -> Column:
    """Read one entry: `datatype` and `shape` of V2, or `type` (and `tensor-spec`) of MLflow."""
    if not isinstance(item, dict):
        raise _UnfitError(f"{where} must be a mapping, not {_kind(item)}")
    name = _name(item.get("name"), where, unnamed)
    if "datatype" in item:
        datatype = item["datatype"]
        if not isinstance(datatype, str) or datatype not in DATATYPES:
            raise _UnfitError(
                f"{where} has no V2 datatype, but {_shown(datatype)}; they are {', '.join(DATATYPES)}"
            )
        return Column(name, datatype, _width(_shape(item.get("shape", [-1]), where)))
    if "type" not in item:
        raise _UnfitError(f"{where} has neither the key 'datatype' nor the key 'type'")
    if item["type"] == "tensor":
        return _tensor(name, item.get("tensor-spec"), where)
    return _typed(name, item, where)


def _name(told: Any, where: str, unnamed: str) -> str:
    if told is None or told == "":
        return unnamed
    # The columns of a pandas frame may be called by numbers.
    name = str(told) if type(told) in (str, int) else ""
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise _UnfitError(f"{where} must have a name of 1 to {MAX_NAME} printable characters")
    return name


def _typed(name: str, item: Mapping[str, Any], where: str) -> Column:
    """Read a column of an MLflow signature. What is nested has no type of its own here."""
    told = item["type"]
    if told == "array":
        items = item.get("items")
        inner = items.get("type") if isinstance(items, dict) else None
        return Column(name, _MLFLOW.get(inner, "BYTES") if isinstance(inner, str) else "BYTES", 0)
    if told in _NESTED:
        return Column(name, "BYTES", 0)
    if not isinstance(told, str) or told not in _MLFLOW:
        raise _UnfitError(f"{where} has no MLflow type, but {_shown(told)}; they are {', '.join(_MLFLOW)}")
    return Column(name, _MLFLOW[told])


def _tensor(name: str, spec: Any, where: str) -> Column:
    if not isinstance(spec, dict):
        raise _UnfitError(f"{where} is a tensor without a 'tensor-spec'")
    dtype = spec.get("dtype")
    datatype = _NUMPY.get(dtype) if isinstance(dtype, str) else None
    if datatype is None and isinstance(dtype, str) and dtype.startswith(_TEXTS):
        datatype = "BYTES"
    if datatype is None:
        raise _UnfitError(f"{where} has the dtype {_shown(dtype)}, which no protocol carries")
    return Column(name, datatype, _width(_shape(spec.get("shape", [-1]), where)))


def _shape(told: Any, where: str) -> Sequence[int]:
    # KServe writes 64-bit numbers as protobuf's JSON does: in quotes.
    sizes = (
        [int(size) if isinstance(size, str) and _whole(size) else size for size in told]
        if isinstance(told, list)
        else []
    )
    if (
        not isinstance(told, list)
        or len(sizes) > MAX_AXES
        or not all(type(size) is int and -1 <= size <= MAX_WIDTH for size in sizes)
    ):
        raise _UnfitError(f"{where} must have a shape such as [-1, 4]")
    return sizes


def _whole(text: str) -> bool:
    return len(text) <= 11 and text.isascii() and text.removeprefix("-").isdecimal()


def _width(shape: Sequence[int]) -> int:
    """Return how many values a row has. The first axis counts rows, unless it is the only one and of fixed length."""
    inner = shape if len(shape) == 1 and shape[0] > 0 else shape[1:]
    width = math.prod(inner)
    return width if all(size > 0 for size in inner) and width <= MAX_WIDTH else 0


def _read(text: str) -> Any:
    # A character is at most four bytes: only a text that might be too large is encoded to be measured.
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _UnfitError(f"is larger than {MAX_BYTES // 1024**2} MiB")
    text = text.removeprefix("\ufeff")
    return _json(text) if text.lstrip()[:1] in {"{", "["} else _yaml(text)


def _inner(text: str, where: str) -> Any:
    try:
        return _json(text)
    except _UnfitError as error:
        raise _UnfitError(f"{where} is no JSON: {error}") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise _UnfitError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _UnfitError("it is nested too deep") from None
    except ValueError:
        # A number of more digits than the interpreter reads.
        raise _UnfitError("it holds a number that is too long") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _UnfitError("an object in it has the same key twice")
    return found


def _yaml(text: str) -> Any:
    documents, problems = parse_documents(text, "")
    # A bare `on` or `no` elsewhere in a file that a tool wrote is not this reader's business.
    for problem in problems:
        if problem.code != "E202":
            raise _UnfitError(f"line {problem.line}, column {problem.column}: {problem.message}")
    return _value(documents[0]) if documents else None


def _value(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return {key: _value(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [_value(item) for item in node.items]
    return node.value


def _kind(value: Any) -> str:
    words = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return words.get(type(value), "a number")


def _shown(value: Any) -> str:
    return f"'{value[:40]}'" if isinstance(value, str) else _kind(value)


_MLFLOW: Final[Mapping[str, str]] = MappingProxyType(
    {
        "boolean": "BOOL",
        "integer": "INT32",
        "long": "INT64",
        "float": "FP32",
        "double": "FP64",
        "string": "BYTES",
        "binary": "BYTES",
        "datetime": "BYTES",
    }
)
_NESTED: Final = ("object", "map", "any", "sparse_vector")

_NUMPY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bool": "BOOL",
        **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
        **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
        "object": "BYTES",
    }
)
_TEXTS: Final = ("str", "bytes", "<U", "|S", "datetime64")
