"""The protocols of the field, as tables of pointers.

Decides where each protocol's messages hold their rows and what its errors look like. How a form is read is left to the
containers.
"""

from typing import Final

from guardproxy.codecs.preset import STATUS, TEXT, WORD, ErrorShape, Form, Layout, Preset

_LANGUAGE_MODEL: Final = "the request is for a language model and has no rows"

OPEN_INFERENCE: Final = Preset(
    name="open-inference",
    requests=(),
    responses=(),
    error=ErrorShape({"error": TEXT}),
    json="tensors",
    paths=(r"/v2/models/[^/]+(/versions/[^/]+)?/infer",),
)

KSERVE_V1: Final = Preset(
    name="kserve-v1",
    requests=(Form("/instances"), Form("/inputs")),
    responses=(Form("/predictions"), Form("/outputs")),
    error=ErrorShape({"error": TEXT}),
    paths=(r"/v1/models/.+:(predict|classify|regress)",),
)

MLFLOW: Final = Preset(
    name="mlflow",
    requests=(
        Form(
            "/dataframe_split/data",
            when="/dataframe_split",
            columns="/dataframe_split/columns",
            layout=Layout.MATRIX,
        ),
        Form("/dataframe_records", layout=Layout.RECORDS),
        Form("/instances"),
        Form("/inputs"),
        Form(when="/messages", opaque=_LANGUAGE_MODEL),
        Form(when="/prompt", opaque=_LANGUAGE_MODEL),
        Form(when="/input", opaque=_LANGUAGE_MODEL),
    ),
    responses=(Form("/predictions"),),
    missing="NaN",
    error=ErrorShape(
        {"error_code": WORD, "message": TEXT},
        words={404: "RESOURCE_DOES_NOT_EXIST", 429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE"},
        client="BAD_REQUEST",
        server="INTERNAL_ERROR",
    ),
    paths=(r"/invocations",),
)

JSON: Final = Preset(
    name="json",
    requests=(),
    responses=(),
    error=ErrorShape({"error": TEXT, "status": STATUS}),
)  # its forms are what the route's pointers say

PRESETS: Final = (OPEN_INFERENCE, KSERVE_V1, MLFLOW, JSON)
