"""The conversation with a model server whose kind nobody told.

Decides what is asked, in which order, and which kind an answer proves. Nothing that is asked changes a server: all is GET,
but for Triton's index of models, which is read by POST.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Final, TypeAlias

from guardproxy.discovery.answers import Answer, Probe, Talk, word
from guardproxy.discovery.invocations import mlflow, sagemaker
from guardproxy.discovery.openapi import described
from guardproxy.discovery.services import bentoml, openai, seldon, torchserve
from guardproxy.discovery.sighting import Asked, Sighting, guesses
from guardproxy.discovery.tensorflow import tensorflow_serving
from guardproxy.discovery.v2 import kserve_v1, open_inference

_SERVER: Final = Probe("/v2")
_GENERAL: Final = tuple(
    map(
        Probe,
        (
            "/v1/models",
            "/ping",
            "/version",
            "/schema.json",
            "/seldon.json",
            "/api-description",
            "/openapi.json",
        ),
    )
)

_Recogniser: TypeAlias = Callable[[Mapping[str, Answer], Asked], Talk[Sighting | None] | Sighting | None]
_KINDS: Final[tuple[_Recogniser, ...]] = (
    openai, bentoml, seldon, torchserve, tensorflow_serving, kserve_v1, mlflow, sagemaker, described,
)  # fmt: skip
"""In this order: a server may also have what those behind it are known by."""

_COMMON: Final = (
    ("/v2/models/{model}/infer", "open-inference"),
    ("/v1/models/{model}:predict", "kserve-v1"),
    ("/invocations", "mlflow"),
)
_WALLS: Final = {
    401: "it wants to know who asks",
    403: "it refuses who asks",
    407: "a proxy wants to know who asks",
}


def look(asked: Asked) -> Talk[Sighting]:
    """Find out what a server is and which routes would guard it."""
    (first,) = yield (_SERVER,)
    if first.refused:
        return _unreachable(first)
    if word(first.told.get("name")):
        return (yield from open_inference(first.told, asked))
    answers = yield _GENERAL
    said = {
        _SERVER.path: first,
        **{probe.path: answer for probe, answer in zip(_GENERAL, answers, strict=True)},
    }
    for recognise in _KINDS:
        found = recognise(said, asked)
        sighting = (yield from found) if isinstance(found, Generator) else found
        if sighting is not None:
            return sighting
    return _unknown(said)


def _unreachable(answer: Answer) -> Sighting:
    return Sighting(
        "unreachable",
        problem=f"cannot be reached: {answer.fault}",
        help="is the model server running, and is this its HTTP port? See --upstream",
    )


def _unknown(said: Mapping[str, Answer]) -> Sighting:
    """Say what a server that nobody recognises did answer, which is what its operator has to go by."""
    answers = list(said.values())
    if all(answer.status == 0 for answer in answers):
        return Sighting(
            "unreachable",
            problem=f"answers nothing that was asked: {answers[0].fault}",
            help="is this its HTTP port, and not gRPC or TLS? A slow server may need a longer --timeout",
        )
    walls = {_WALLS[answer.status] for answer in answers if answer.status in _WALLS}
    moved = next((answer.location for answer in answers if answer.location), "")
    if moved:
        problem, help_ = (
            f"it redirects to {moved}, which is not followed",
            "give the address of the model server itself",
        )
    elif walls:
        problem, help_ = (
            min(walls),
            "init sends no credentials: write the routes by hand, or look at it from beside it",
        )
    else:
        problem, help_ = "it is no model server that guardproxy knows", "write its routes by hand"
    return Sighting(
        "unknown",
        "an unknown HTTP server",
        routes=guesses(_COMMON, "the path is a guess: look at what clients ask for"),
        problem=problem,
        help=help_,
    )
