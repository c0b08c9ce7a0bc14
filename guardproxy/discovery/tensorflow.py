"""TensorFlow Serving: it answers for models that one can name, and lists none.

Decides how its metadata becomes a signature.
"""

from collections.abc import Mapping
from typing import Any, Final

from guardproxy.codecs.signature import Signature
from guardproxy.discovery.answers import Answer, Probe, Talk, mappings
from guardproxy.discovery.sighting import (
    MODEL,
    Asked,
    LeftOut,
    Model,
    Names,
    Route,
    Sighting,
    choose,
    in_path,
    routes_of,
)
from guardproxy.discovery.v2 import PREDICT, V1, nothing_to_guard, signature_of

_FORMS: Final = (
    PREDICT,
    (f"/v1/models/{MODEL}/versions/{{version}}:predict", V1),
    (f"/v1/models/{MODEL}/labels/{{label}}:predict", V1),
)
_OTHER_METHODS: Final = {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}
_DEFAULT: Final = "serving_default"
_MALFORMED: Final = "Malformed request: GET"


def tensorflow_serving(said: Mapping[str, Answer], asked: Asked) -> Talk[Sighting] | Sighting | None:
    """Recognise TensorFlow Serving by what it says of a path that it does not have."""
    if not any(str(said[path].mapping.get("error")).startswith(_MALFORMED) for path in ("/v2", "/v1/models")):
        return None
    sighting = Sighting("tensorflow-serving", "TensorFlow Serving")
    names = choose((), asked)
    if not names.kept:
        return nothing_to_guard(sighting, _FORMS, names)
    return _ask(sighting, names)


def _ask(sighting: Sighting, names: Names) -> Talk[Sighting]:
    told = yield tuple(Probe(f"/v1/models/{in_path(name)}/metadata") for name in names.asked_for_signature)
    models, left, notes = [], list(names.left_out), list(names.notes)
    routes: list[Route] = []
    for at, name in enumerate(names.kept):
        answer = told[at] if at < len(told) else Answer()
        if answer.status in {400, 404}:
            left.append(LeftOut(name, "the server does not know it"))
            continue
        definitions = _definitions(answer.told)
        signature, note = _signature(definitions, f"GET /v1/models/{in_path(name)}/metadata")
        if note:
            notes.append(f"{name}: {note}")
        models.append(Model(name, signature))
        verbs = {_OTHER_METHODS.get(str(each.get("method_name"))) for each in definitions.values()} - {None}
        forms = [*_FORMS, *((f"/v1/models/{MODEL}:{verb}", V1) for verb in sorted(map(str, verbs)))]
        routes += routes_of([name], forms)
    if not models:
        return nothing_to_guard(sighting, _FORMS, Names((), tuple(left)))
    return Sighting(
        sighting.kind,
        sighting.title,
        models=tuple(models),
        routes=tuple(routes),
        left_out=tuple(left),
        notes=tuple(notes),
    )


def _definitions(told: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the signatures of a SavedModel by name."""
    inner: Any = told
    for key in ("metadata", "signature_def", "signature_def"):
        inner = inner.get(key) if isinstance(inner, dict) else None
    return (
        {name: each for name, each in inner.items() if isinstance(each, dict)}
        if isinstance(inner, dict)
        else {}
    )


def _signature(definitions: Mapping[str, Mapping[str, Any]], where: str) -> tuple[Signature | None, str]:
    usable = {name: each for name, each in definitions.items() if not name.startswith("__")}
    chosen = usable.get(_DEFAULT) or (next(iter(usable.values())) if len(usable) == 1 else {})
    return signature_of({side: _tensors(chosen.get(side)) for side in ("inputs", "outputs")}, where)


def _tensors(told: Any) -> list[dict[str, Any]]:
    """Rewrite the tensors of one side in the words of the Open Inference Protocol."""
    found = []
    for name, each in told.items() if isinstance(told, dict) else ():
        if isinstance(each, dict):
            shape = each.get("tensor_shape")
            sizes = (
                [size.get("size") for size in mappings(shape.get("dim"))] if isinstance(shape, dict) else []
            )
            found.append(
                {"name": name, "datatype": _TYPES.get(str(each.get("dtype"))), "shape": sizes or [-1]}
            )
    return found


_TYPES: Final[Mapping[str, str]] = {
    "DT_BOOL": "BOOL",
    "DT_HALF": "FP16",
    "DT_BFLOAT16": "BF16",
    "DT_FLOAT": "FP32",
    "DT_DOUBLE": "FP64",
    "DT_STRING": "BYTES",
    **{f"DT_{sign}INT{bits}": f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
