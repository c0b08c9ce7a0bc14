"""The loop of every client: one line of JSON in is one call, one line out is what came of it."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any


def answer(calls: Mapping[str, Callable[..., Any]]) -> None:
    """Carry out calls by name until the input ends. An exception of the client's is an answer, not an end."""
    out = sys.stdout
    sys.stdout = sys.stderr  # a library that prints must not put words between the answers
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            said = {"held": calls[arguments.pop("call")](**arguments)}
        except Exception as error:  # noqa: BLE001  # whatever the client raises is what its user would see
            said = {"raised": type(error).__name__, "said": str(error)}
        out.write(json.dumps(said) + "\n")
        out.flush()


def array(values: Any) -> dict[str, Any]:
    """Return what a numpy array holds: its type, its shape and its values (bytes as text)."""
    plain = [value.decode() if isinstance(value, bytes) else value for value in values.ravel().tolist()]
    return {"dtype": str(values.dtype), "shape": list(values.shape), "values": plain}
