"""Containers with one model at `/invocations`: MLflow's scoring server, and those made for SageMaker.

Decides how they are told apart: both answer `/ping`, only MLflow says its version as bare text.
"""

import re
from collections.abc import Mapping
from typing import Final

from guardproxy.discovery.answers import Answer, Probe, Talk
from guardproxy.discovery.sighting import Asked, LeftOut, Model, Route, Sighting

PATH: Final = "/invocations"
_ENDPOINT: Final = "/endpoints/{name}/invocations"
_VERSION: Final = re.compile(rb'\s*"?([0-9]{1,4}(?:\.[0-9A-Za-z+-]{1,20}){1,5})"?\s*')
_UNNAMED: Final = "model"


def mlflow(said: Mapping[str, Answer], asked: Asked) -> Sighting | None:
    """Recognise MLflow's scoring server."""
    version = _VERSION.fullmatch(said["/version"].body[:200])
    if not (said["/ping"].ok and said["/version"].ok and version):
        return None
    model, left, notes = _the_model(asked)
    return Sighting(
        "mlflow",
        "MLflow",
        version[1].decode(),
        (Model(model),),
        (Route(PATH, model, "mlflow"),),
        left,
        (*notes, "MLflow tells no signature: give the model's MLmodel file with --mlmodel FILE"),
    )


def sagemaker(said: Mapping[str, Answer], asked: Asked) -> Talk[Sighting | None] | None:
    """Recognise a container made for SageMaker: healthy at /ping, and something at /invocations that takes no GET.

    What answers any path with a page is none.
    """
    return _ask_for_invocations(asked) if said["/ping"].ok and not said["/v2"].ok else None


def _ask_for_invocations(asked: Asked) -> Talk[Sighting | None]:
    (answer,) = yield (Probe(PATH),)
    if answer.status < 400 or answer.status == 404:
        return None
    model, left, notes = _the_model(asked)
    through = "for boto3 with guardproxy as its endpoint_url"
    routes = (
        Route(PATH, model, "sagemaker"),
        Route(_ENDPOINT, model, "sagemaker", upstream_path=PATH, active=False, remark=through),
    )
    return Sighting("sagemaker", "a SageMaker-style container", "", (Model(model),), routes, left, notes)


def _the_model(asked: Asked) -> tuple[str, tuple[LeftOut, ...], tuple[str, ...]]:
    """Return the name of the one model, what is left out beside it, and a note where nobody named it."""
    if not asked.models:
        return (
            _UNNAMED,
            (),
            (f"the server does not name its model; here it is '{_UNNAMED}': --model NAME names it",),
        )
    first, *others = asked.models
    return first, tuple(LeftOut(name, "this server has one model") for name in others), ()
