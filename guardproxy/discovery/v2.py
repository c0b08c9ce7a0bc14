"""Servers of the Open Inference Protocol: Triton, MLServer, KServe, and others that answer `GET /v2`.

Decides which paths each of them serves, and how a model's metadata becomes a signature. KServe's version 1 paths are here as
well: its servers answer both.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from guardproxy.codecs.signature import Signature, read_signature
from guardproxy.discovery.answers import Answer, Probe, Talk, mappings, word
from guardproxy.discovery.sighting import (
    MODEL,
    Asked,
    LeftOut,
    Model,
    Names,
    Route,
    Sighting,
    choose,
    guesses,
    in_path,
    routes_of,
)

V2: Final = "open-inference"
V1: Final = "kserve-v1"

_INFER: Final = (f"/v2/models/{MODEL}/infer", V2)
_VERSIONED: Final = (f"/v2/models/{MODEL}/versions/{{version}}/infer", V2)
PREDICT: Final = (f"/v1/models/{MODEL}:predict", V1)

# The index has what stands in a model repository; PyTriton's models are in none, but have statistics.
_STATS: Final = Probe("/v2/models/stats")
_INDEX: Final = Probe("/v2/repository/index", b"{}")


@dataclass(frozen=True, slots=True)
class _Server:
    """One server: its kind and title, the forms of its paths, and where its models are listed."""

    kind: str
    title: str
    forms: tuple[tuple[str, str], ...]
    lists: tuple[Probe, ...]


_SERVERS: Final[Mapping[str, _Server]] = {
    "triton": _Server("triton", "Triton", (_INFER, _VERSIONED), (_INDEX, _STATS)),
    "mlserver": _Server(
        "mlserver", "MLServer", (_INFER, _VERSIONED), (_INDEX, Probe("/ping"), Probe("/version"))
    ),
    # KServe answers 501 to the paths with a version.
    "kserve": _Server("kserve", "KServe", (_INFER, PREDICT), (Probe("/v2/models"), Probe("/v1/models"))),
}


def open_inference(server: Mapping[str, Any], asked: Asked) -> Talk[Sighting]:
    """Ask a server of the Open Inference Protocol, of whose `GET /v2` this is the answer, for its models."""
    name = word(server.get("name"))
    known = _SERVERS.get(name.lower()) or _Server(
        "open-inference",
        f"an Open Inference server ({name})",
        (_INFER, _VERSIONED),
        (_INDEX, Probe("/v2/models")),
    )
    answers = yield known.lists
    listed, states = _listed(answers)
    names = choose(listed, asked)
    sighting = Sighting(known.kind, known.title, word(server.get("version")))
    if not names.kept:
        return nothing_to_guard(sighting, known.forms, names)
    told = yield tuple(Probe(f"/v2/models/{in_path(model)}") for model in names.asked_for_signature)
    found = _with_metadata(names, told, states, certain=bool(listed))
    routes = [route for model in found.models for route in routes_of([model.name], known.forms)]
    if known.kind == "triton":
        fixed = {
            model for model, answer in zip(names.kept, told, strict=False) if _has_no_batch_axis(answer.told)
        }
        routes = [replace(route, batch_axis=False) if route.model in fixed else route for route in routes]
    if known.kind == "mlserver":
        routes += _of_mlflow_runtime(answers, found.models)
    if not found.models:
        return nothing_to_guard(sighting, known.forms, Names((), found.left_out))
    return replace(
        sighting,
        models=found.models,
        routes=tuple(routes),
        left_out=found.left_out,
        notes=(*names.notes, *found.notes),
    )


def kserve_v1(said: Mapping[str, Answer], asked: Asked) -> Sighting | None:
    """Recognise a KServe server that has only version 1 of the protocol; it tells no more than its models' names."""
    listed = said["/v1/models"].told.get("models")
    if not isinstance(listed, list):
        return None
    names = choose(listed, asked)
    sighting = Sighting("kserve", "KServe", "(protocol version 1)")
    if not names.kept:
        return nothing_to_guard(sighting, (PREDICT,), names)
    models = tuple(Model(name) for name in names.kept)
    return replace(sighting, models=models, routes=routes_of(names.kept, (PREDICT,)), left_out=names.left_out)


def signature_of(metadata: Mapping[str, Any], path: str) -> tuple[Signature | None, str]:
    """Return the signature that V2 metadata tells, and a sentence where it tells one that cannot be read."""
    if not metadata.get("inputs") and not metadata.get("outputs"):
        return None, ""
    try:
        return read_signature(json.dumps(metadata), path), ""
    except ValueError as error:
        return None, f"the metadata is no signature: {error}"


@dataclass(frozen=True, slots=True)
class _Found:
    models: tuple[Model, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def _with_metadata(
    names: Names, told: Sequence[Answer], states: Mapping[str, str], *, certain: bool
) -> _Found:
    """Add to the models what their metadata says. A model that no list is `certain` of needs metadata to be believed in."""
    models, left, notes = [], list(names.left_out), []
    for at, name in enumerate(names.kept):
        answer = told[at] if at < len(told) else Answer()
        if not certain and answer.status in {400, 404}:
            left.append(LeftOut(name, "the server does not know it"))
            continue
        signature, note = signature_of(answer.told, f"GET /v2/models/{in_path(name)}")
        if note:
            notes.append(f"{name}: {note}")
        models.append(Model(name, signature, states.get(name, "")))
    return _Found(tuple(models), tuple(left), tuple(notes))


def _listed(answers: Sequence[Answer]) -> tuple[list[Any], dict[str, str]]:
    """Return the names in the lists, each once, and the states of those that are not ready."""
    names: list[Any] = []
    states: dict[str, str] = {}
    for answer in answers:
        value = answer.value if answer.ok else None
        for item in mappings(value):
            name, state = item.get("name"), word(item.get("state"))
            names.append(name)
            if isinstance(name, str):
                ready = states.get(name) == "" or state in {"READY", ""}
                states[name] = "" if ready else f"{state} when init looked"
        told = value if isinstance(value, dict) else {}
        names += [item.get("name") for item in mappings(told.get("model_stats"))]
        names += told["models"] if isinstance(told.get("models"), list) else []
    return names, states


def _has_no_batch_axis(metadata: Mapping[str, Any]) -> bool:
    """Tell whether all inputs have one axis of fixed length: what Triton answers for a model that takes no batches."""
    shapes = [item.get("shape") for item in mappings(metadata.get("inputs"))]
    return bool(shapes) and all(
        isinstance(shape, list) and len(shape) == 1 and shape[0] not in (-1, "-1", 1, "1") for shape in shapes
    )


def _of_mlflow_runtime(answers: Sequence[Answer], models: Sequence[Model]) -> list[Route]:
    """Return the route of MLflow's own path, which MLServer answers as well where a model runs in its MLflow runtime."""
    if not all(answer.ok for answer in answers[1:]) or not models:
        return []
    sure = len(models) == 1
    remark = "" if sure else "MLServer's MLflow runtime answers this path too; say for which of its models"
    return [Route("/invocations", models[0].name if sure else "NAME", "mlflow", active=sure, remark=remark)]


def nothing_to_guard(sighting: Sighting, forms: Sequence[tuple[str, str]], names: Names) -> Sighting:
    """Return a sighting without a route that guards: with nothing named, or with what was left out and why."""
    return replace(
        sighting,
        left_out=names.left_out,
        routes=guesses(forms, "put the model's name in the place of NAME"),
        problem="none of the models can get a route" if names.left_out else "it lists no model",
        help="name the models: --model NAME (may be given more than once)",
    )
