"""The protocols of the field, as tables of pointers.

Decides where each protocol's messages hold their rows and what its errors look like. How a form is read is left to the
containers.

An error takes the shape in which the protocol's own clients find its sentence:

- open-inference, kserve-v1: `{"error": text}`; its clients raise an empty exception on anything else.
- mlflow: `{"error_code": word, "message": text}`.
- sagemaker: a container's own error body is free, and the service hands it on as text. botocore reads `code` as the name of
  the exception and `message` as its sentence, `OriginalMessage` and `OriginalStatusCode` as members of ModelError: with them
  a client that talks to the proxy raises just what it raises for a model's error behind the service.
- seldon: `{"status": {..}}` with `status` 1, as its model servers write it; its clients parse it as a protobuf, which also
  knows the word FAILURE.
- torchserve: `{"code": status, "type": word, "message": text}`.
- bentoml: `{"error": text}`. FastAPI's `detail` is a list of objects where a request was invalid, and code that reads it
  walks that list; `error` is text wherever it is used.
- openai: `{"error": {"message", "type", "param", "code"}}`; the client raises by the HTTP status and shows the message.
"""

from typing import Final

from guardproxy.codecs.grpc_tensors import GRPC
from guardproxy.codecs.preset import (
    DEFAULT_METHODS,
    STATUS,
    TEXT,
    WORD,
    Deltas,
    ErrorShape,
    Form,
    Layout,
    Pick,
    Preset,
    Take,
)

_LANGUAGE_MODEL: Final = "the request is for a language model and has no rows"
_TF_TENSOR: Final = "the message is a TensorFlow tensor in JSON, which has no rows to see"
_EVENT: Final = "the request is an event that has no rows to see"
_BYTES: Final = "the message is bytes"

_NUL: Final = b"\0"
"""No JSON has this byte, and hardly any picture lacks it: such a body is a file, even where nothing says its type."""

OPEN_INFERENCE: Final = Preset(
    name="open-inference",
    requests=(),
    responses=(),
    error=ErrorShape({"error": TEXT}),
    json="tensors",
    media={GRPC: "grpc"},
    paths=("/v2/models/{}/infer", "/v2/models/{}/versions/{}/infer"),
)

KSERVE_V1: Final = Preset(
    name="kserve-v1",
    requests=(
        Form("/instances", even=True),
        Form("/inputs", even=True),
        # KServe takes `data` of a structured CloudEvent for the request, whatever stands beside it.
        Form("/data/instances", even=True),
        Form("/data/inputs", even=True),
        Form(when="/data", opaque=_EVENT),
        Form("/examples", context="/context"),
        Form("/inputs", when="/inputs/0/series", shared=(Pick("horizon", "/options/horizon"),)),
    ),
    responses=(
        Form("/predictions"),
        Form("/outputs"),
        Form("/results", layout=Layout.RANKED),
        Form(
            "/outputs/0/content",
            fields=(
                Pick("mean_forecast", "/mean_forecast"),
                Pick("p10", "/quantiles/0.1"),
                Pick("p50", "/quantiles/0.5"),
                Pick("p90", "/quantiles/0.9"),
            ),
        ),
    ),
    error=ErrorShape({"error": TEXT}),
    paths=(
        *(
            f"/v1/models/{{}}{version}:{verb}"
            for version in ("", "/versions/{}", "/labels/{}")
            for verb in ("predict", "classify", "regress")
        ),
        "/v1/timeseries/forecast",
    ),
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
        # MLflow turns these records into columns, and puts what a record lacks out of the column's next one.
        Form("/instances", uniform=True),
        Form("/inputs"),
        Form("/input_data/data", columns="/input_data/columns", layout=Layout.MATRIX),  # Azure's two forms
        Form("/input_data"),
        Form(when="/messages", opaque=_LANGUAGE_MODEL),
        Form(when="/prompt", opaque=_LANGUAGE_MODEL),
        Form(when="/input", opaque=_LANGUAGE_MODEL),
    ),
    responses=(Form("/predictions"), Form(otherwise=True, array=True)),
    missing="NaN",
    error=ErrorShape(
        {"error_code": WORD, "message": TEXT},
        words={404: "RESOURCE_DOES_NOT_EXIST", 429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE"},
        client="BAD_REQUEST",
        server="INTERNAL_ERROR",
    ),
    media={"text/csv": "csv"},
    csv_header=True,
    paths=("/invocations", "/serving-endpoints/{}/invocations"),
)

SAGEMAKER: Final = Preset(
    name="sagemaker",
    requests=(
        Form("/instances", unwrap="features"),
        Form("/inputs", layout=Layout.LOOSE),
        Form(layout=Layout.ITEM, otherwise=True, unwrap="features"),
    ),
    responses=(Form("/predictions"), Form("/outputs", nested=True), Form(otherwise=True)),
    error=ErrorShape(
        {"code": "ModelError", "message": TEXT, "OriginalMessage": TEXT, "OriginalStatusCode": STATUS}
    ),
    media={
        "text/csv": "csv",
        "application/jsonlines": "json-lines",
        "application/x-jsonlines": "json-lines",
        "application/jsonl": "json-lines",
        "application/x-ndjson": "json-lines",
        "application/x-npy": "npy",
    },
    paths=("/endpoints/{}/invocations",),
    foreign=_NUL,
)

SELDON: Final = Preset(
    name="seldon",
    requests=(
        Form("/data/ndarray", columns="/data/names", positional=True),
        Form("/data/tensor/values", columns="/data/names", shape="/data/tensor/shape", positional=True),
        Form(when="/data/tftensor", opaque=_TF_TENSOR),
        Form("/jsonData", layout=Layout.ITEM),
        Form("/strData", layout=Layout.SINGLE),
        Form(when="/binData", opaque=_BYTES),
    ),
    responses=(
        Form("/data/ndarray", columns="/data/names"),
        Form("/data/tensor/values", columns="/data/names", shape="/data/tensor/shape"),
        Form(when="/data/tftensor", opaque=_TF_TENSOR),
        Form("/jsonData"),
        Form("/strData"),
        Form(when="/binData", opaque=_BYTES),
    ),
    error=ErrorShape(
        {"status": {"code": STATUS, "info": TEXT, "reason": WORD, "status": 1}},
        words={404: "NOT_FOUND", 429: "TOO_MANY_REQUESTS", 503: "SERVICE_UNAVAILABLE"},
        client="MICROSERVICE_BAD_DATA",
        server="MICROSERVICE_INTERNAL_ERROR",
    ),
    methods=(*DEFAULT_METHODS, "GET"),
    media={"application/x-www-form-urlencoded": "form", "multipart/form-data": "form"},
    paths=(
        "/api/v1.0/predictions",
        "/api/v0.1/predictions",
        "/seldon/{}/{}/api/v1.0/predictions",
        "/seldon/{}/{}/api/v0.1/predictions",
    ),
)

TORCHSERVE: Final = Preset(
    name="torchserve",
    requests=(Form("/instances"), Form(layout=Layout.ITEM, otherwise=True)),
    responses=(Form("/predictions", nested=True), Form(otherwise=True)),
    error=ErrorShape(
        {"code": STATUS, "type": WORD, "message": TEXT},
        words={
            404: "ModelNotFoundException",
            405: "MethodNotAllowedException",
            503: "ServiceUnavailableException",
        },
        client="BadRequestException",
        server="InternalServerException",
    ),
    paths=("/predictions/{}", "/predictions/{}/{}"),
    foreign=_NUL,
)

BENTOML: Final = Preset(
    name="bentoml",
    requests=(Form(layout=Layout.ARGUMENTS, otherwise=True),),
    responses=(
        *(
            Form(f"/{name}", nested=True)
            for name in ("predictions", "outputs", "output", "results", "result")
        ),
        Form(otherwise=True),
    ),
    error=ErrorShape({"error": TEXT}),
    missing="NaN",
    paths=("/predict",),
    foreign=_NUL,
)


def _sampling(max_tokens: Pick) -> tuple[Pick, ...]:
    return (
        Pick("model", "/model"),
        Pick("temperature", "/temperature"),
        Pick("top_p", "/top_p"),
        max_tokens,
        Pick("n", "/n"),
        Pick("stream", "/stream"),
    )


_USAGE: Final = tuple(
    Pick(name, f"/usage/{name}") for name in ("prompt_tokens", "completion_tokens", "total_tokens")
)
_FINISH: Final = Pick("finish_reason", "/finish_reason")
_DELTAS: Final = Deltas("choices", "index", {"delta": "message"}, ("content", "text"), end="[DONE]")

OPENAI: Final = Preset(
    name="openai",
    requests=(
        Form(
            when="/messages",
            layout=Layout.SINGLE,
            fields=(
                Pick("prompt", "/messages/-1", Take.TEXT),
                Pick("messages", "/messages", Take.COUNT),
                Pick("chars", "/messages", Take.CHARS),
            ),
            # Of the two names the newer one counts.
            shared=_sampling(Pick("max_tokens", "/max_completion_tokens", instead="/max_tokens")),
            repeat="/n",
        ),
        Form(
            "/prompt",
            layout=Layout.TEXTS,
            fields=(Pick("prompt"), Pick("chars", take=Take.CHARS)),
            shared=_sampling(Pick("max_tokens", "/max_tokens")),
            repeat="/n",
        ),
        Form(
            "/input",
            layout=Layout.TEXTS,
            fields=(Pick("input"), Pick("chars", take=Take.CHARS)),
            shared=(Pick("model", "/model"), Pick("dimensions", "/dimensions")),
        ),
    ),
    responses=(
        Form(
            "/choices",
            when="/choices/0/message",
            # The call of a tool is an answer without a text, not one whose text is missing.
            fields=(Pick("content", "/message/content", empty=""), _FINISH, Pick("role", "/message/role")),
            shared=_USAGE,
            position="/index",
        ),
        Form(
            "/choices",
            when="/choices/0/text",
            fields=(Pick("text", "/text"), _FINISH),
            shared=_USAGE,
            position="/index",
        ),
        Form(
            "/data",
            when="/data/0/embedding",
            fields=(Pick("embedding", "/embedding", Take.FLOATS),),
            shared=_USAGE,
            position="/index",
        ),
    ),
    error=ErrorShape(
        {"error": {"message": TEXT, "type": WORD, "param": None, "code": None}},
        words={401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"},
        client="invalid_request_error",
        server="server_error",
    ),
    deltas=_DELTAS,
    final=(("x-should-retry", "false"),),
    paths=tuple(
        f"{start}/v1/{name}"
        for name in ("chat/completions", "completions", "embeddings")
        for start in ("", "*")
    ),
)

JSON: Final = Preset(
    name="json",
    requests=(),
    responses=(),
    error=ErrorShape({"error": TEXT, "status": STATUS}),
)  # its forms are what the route's pointers say

PRESETS: Final = (
    OPEN_INFERENCE,
    KSERVE_V1,
    MLFLOW,
    SAGEMAKER,
    SELDON,
    TORCHSERVE,
    BENTOML,
    OPENAI,
    JSON,
)
"""In the order in which a path is asked for its protocol."""
