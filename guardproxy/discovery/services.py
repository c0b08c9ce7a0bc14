"""Servers with a protocol of their own: Seldon, TorchServe, BentoML, and those that speak as OpenAI does.

Decides by which of their answers each is recognised, and which paths it serves.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from guardproxy.discovery.answers import Answer, Probe, Talk, mappings, word
from guardproxy.discovery.sighting import (
    MAX_MODELS,
    MODEL,
    Asked,
    LeftOut,
    Model,
    Route,
    Sighting,
    choose,
    name_problem,
    path_problem,
    routes_of,
    shown,
)
from guardproxy.discovery.v2 import nothing_to_guard, signature_of

_SELDON: Final = ("/api/v1.0/predictions", "/api/v0.1/predictions", "/predict")
_TORCHSERVE: Final = (
    (f"/predictions/{MODEL}", "torchserve"),
    (f"/predictions/{MODEL}/{{version}}", "torchserve"),
)
_TORCHSERVE_ERROR: Final = frozenset({"code", "type", "message"})
_OWN_FIELDS: Final = (
    "each path has other fields (content, text, embedding), and a rule whose field is missing is violated: give each route "
    "that gets rules a model: of its own"
)
_STREAMS: Final = (
    "streamed answers pass unguarded; with buffer: true a route reads them whole, judges and then sends them"
)
_OPENAI: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


def seldon(said: Mapping[str, Answer], asked: Asked) -> Talk[Sighting] | None:
    """Recognise a Seldon microservice by its description of itself."""
    paths = said["/seldon.json"].told.get("paths")
    return _ask_seldon(asked) if isinstance(paths, dict) else None


def _ask_seldon(asked: Asked) -> Talk[Sighting]:
    (answer,) = yield (Probe("/metadata"),)
    told = answer.told
    named = told.get("name")
    name = asked.models[0] if asked.models else named if not name_problem(named) else "model"
    signature, note = signature_of(told, "GET /metadata")
    return Sighting(
        "seldon",
        "Seldon",
        models=(Model(str(name), signature),),
        routes=tuple(Route(path, str(name), "seldon") for path in _SELDON),
        left_out=tuple(LeftOut(other, "this server has one model") for other in asked.models[1:]),
        notes=(note,) if note else (),
    )


def torchserve(said: Mapping[str, Answer], asked: Asked) -> Sighting | None:
    """Recognise TorchServe by its description, else by the shape of its errors."""
    info = said["/api-description"].told.get("info")
    described = isinstance(info, dict) and "TorchServe" in str(info.get("title"))
    if not described and not any(answer.mapping.keys() >= _TORCHSERVE_ERROR for answer in said.values()):
        return None
    version = word(info.get("version")) if described and isinstance(info, dict) else ""
    sighting = Sighting("torchserve", "TorchServe", version)
    names = choose((), asked)
    if not names.kept:
        lost = nothing_to_guard(sighting, _TORCHSERVE, names)
        return replace(
            lost, help=f"{lost.help}; TorchServe's management port lists them (GET /models, usually on 8081)"
        )
    return replace(
        sighting,
        models=tuple(map(Model, names.kept)),
        routes=routes_of(names.kept, _TORCHSERVE),
        left_out=names.left_out,
    )


def bentoml(said: Mapping[str, Answer], asked: Asked) -> Sighting | None:
    """Recognise a BentoML service by its schema, which names an endpoint for each of its functions."""
    schema = said["/schema.json"].told
    endpoints = mappings(schema.get("routes"))
    if not endpoints:
        return None
    paths = {str(each.get("name")): each.get("route") for each in endpoints}
    names = choose([each.get("name") for each in endpoints], asked, in_path=False)
    left = list(names.left_out)
    kept = []
    tasks = {each.get("name") for each in endpoints if each.get("is_task") is True}
    for name in names.kept:
        why = "it is a task, which is answered later" if name in tasks else path_problem(paths.get(name))
        if why:
            left.append(LeftOut(name, why))
        else:
            kept.append(name)
    service = shown(schema.get("name"))
    sighting = Sighting("bentoml", "BentoML", notes=(f"the service is called {service}",))
    if not kept:
        return nothing_to_guard(sighting, (("/NAME", "bentoml"),), replace(names, left_out=tuple(left)))
    routes = tuple(Route(str(paths[name]), name, "bentoml") for name in kept)
    return replace(sighting, models=tuple(map(Model, kept)), routes=_distinct(routes), left_out=tuple(left))


def openai(said: Mapping[str, Answer], asked: Asked) -> Sighting | None:
    """Recognise a server that lists its models as OpenAI's API does."""
    listed = mappings(said["/v1/models"].told.get("data"))
    if not listed:
        return None
    names = choose([each.get("id") for each in listed], asked, in_path=False)
    owners = {word(each.get("owned_by")) for each in listed}
    title = "vLLM" if "vllm" in owners else "an OpenAI-compatible server"
    sighting = Sighting("openai", title, word(said["/version"].told.get("version")))
    if not names.kept:
        return nothing_to_guard(sighting, tuple((path, "openai") for path in _OPENAI), names)
    first = names.kept[0]
    paths = _present(said["/openapi.json"])
    notes = (
        (f"its models share their paths: the rules of '{shown(first)}' judge the answers of all",)
        if len(names.kept) > 1
        else ()
    )
    own = (_OWN_FIELDS,) if len(paths) > 1 else ()
    return replace(
        sighting,
        models=tuple(map(Model, names.kept[:MAX_MODELS])),
        routes=tuple(Route(path, first, "openai") for path in paths),
        left_out=names.left_out,
        notes=(*notes, *own, _STREAMS),
    )


def _present(description: Answer) -> tuple[str, ...]:
    """Return the paths of OpenAI's API that a server describes; all of them where it describes none."""
    paths: Any = description.told.get("paths")
    found = tuple(path for path in _OPENAI if isinstance(paths, dict) and path in paths)
    return found or _OPENAI


def _distinct(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    return tuple({route.path: route for route in routes}.values())
