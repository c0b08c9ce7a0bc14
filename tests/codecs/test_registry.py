import json

import pytest

from guardproxy.codecs import PROTOCOLS, CodecOptions, make_codec
from guardproxy.codecs.registry import protocol_of_path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_makes_a_codec_of_its_name(protocol: str) -> None:
    assert make_codec(protocol, CodecOptions()).name == protocol


@pytest.mark.parametrize(
    ("word", "likely"), [("open_inference", "open-inference"), ("kserve", "kserve-v1"), ("ml-flow", "mlflow")]
)
def test_an_unknown_protocol_names_the_likely_word(word: str, likely: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {likely}"):
        make_codec(word, CodecOptions())


def test_a_word_like_none_lists_them_all() -> None:
    with pytest.raises(
        ValueError,
        match="one of open-inference, kserve-v1, mlflow, sagemaker, seldon, torchserve, bentoml, openai, json",
    ):
        make_codec("xyz", CodecOptions())


@pytest.mark.parametrize("depth", [0, 7, 257, 10_000])
def test_a_depth_that_cannot_be_kept_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="max_depth"):
        make_codec("mlflow", CodecOptions(max_depth=depth))


ERRORS = {
    "open-inference": {"error": 'no "x"'},
    "kserve-v1": {"error": 'no "x"'},
    "mlflow": {"error_code": "BAD_REQUEST", "message": 'no "x"'},
    "sagemaker": {
        "code": "ModelError",
        "message": 'no "x"',
        "OriginalMessage": 'no "x"',
        "OriginalStatusCode": 422,
    },
    "seldon": {
        "status": {"code": 422, "info": 'no "x"', "reason": "MICROSERVICE_BAD_DATA", "status": 1},
    },
    "torchserve": {"code": 422, "type": "BadRequestException", "message": 'no "x"'},
    "bentoml": {"error": 'no "x"'},
    "openai": {
        "error": {"message": 'no "x"', "type": "invalid_request_error", "param": None, "code": None},
    },
    "json": {"error": 'no "x"', "status": 422},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_error_has_the_shape_that_the_protocols_clients_read(protocol: str) -> None:
    content_type, body = make_codec(protocol, CodecOptions()).error(422, 'no "x"')
    assert content_type == b"application/json"
    assert json.loads(body) == ERRORS[protocol]


WORDS = {
    "mlflow": (
        ("error_code",),
        {
            400: "BAD_REQUEST",
            429: "REQUEST_LIMIT_EXCEEDED",
            500: "INTERNAL_ERROR",
            503: "TEMPORARILY_UNAVAILABLE",
        },
    ),
    "seldon": (
        ("status", "reason"),
        {422: "MICROSERVICE_BAD_DATA", 500: "MICROSERVICE_INTERNAL_ERROR", 503: "SERVICE_UNAVAILABLE"},
    ),
    "torchserve": (
        ("type",),
        {
            404: "ModelNotFoundException",
            422: "BadRequestException",
            500: "InternalServerException",
            503: "ServiceUnavailableException",
        },
    ),
    "openai": (
        ("error", "type"),
        {
            401: "authentication_error",
            422: "invalid_request_error",
            429: "rate_limit_error",
            503: "server_error",
        },
    ),
}


@pytest.mark.parametrize("protocol", WORDS)
def test_a_protocol_with_words_for_errors_says_which_kind_it_is(protocol: str) -> None:
    path, words = WORDS[protocol]
    codec = make_codec(protocol, CodecOptions())
    found = {}
    for status in words:
        value = json.loads(codec.error(status, "")[1])
        for step in path:
            value = value[step]
        found[status] = value
    assert found == words


PATHS = {
    "open-inference": ("/v2/models/demand/infer", "/v2/models/{model}/versions/{version}/infer", "/v2/*"),
    "kserve-v1": (
        "/v1/models/demand:predict",
        "/v1/models/{model}:predict",
        "/v1/models/{model}/versions/7:classify",
        "/v1/models/m/labels/stable:regress",
        "/v1/models/*",
        "/v1/models/demand:*",
        "/v1/models/{model_and_verb}",
        "/v1/timeseries/forecast",
    ),
    "mlflow": ("/invocations", "/invocations*", "/serving-endpoints/{name}/invocations"),
    "sagemaker": ("/endpoints/demand/invocations", "/endpoints/{name}/invocations", "/endpoints/*"),
    "seldon": ("/api/v1.0/predictions", "/api/v0.1/predictions", "/seldon/{ns}/{name}/api/v1.0/predictions"),
    "torchserve": ("/predictions/demand", "/predictions/{model}/{version}", "/predictions/*"),
    "bentoml": ("/predict",),
    "openai": ("/v1/chat/completions", "/openai/v1/completions", "/a/b/v1/embeddings", "/v1/chat/*"),
    None: (
        "",
        "/",
        "/*",
        "*",
        "/v1/*",
        "/score",
        "/v1/models/:predict",
        "/v1/models/demand:explain",
        "/v2/models/demand",
        "/v2/models/demand/infer/",
        "/v2/models/a/b/infer",
        "/{anything}",
        "/{a}/{b}/{c}/{d}",
    ),
}


@pytest.mark.parametrize(
    ("protocol", "path"), [(name, path) for name, paths in PATHS.items() for path in paths]
)
def test_a_routes_path_tells_its_protocol(protocol: str | None, path: str) -> None:
    assert protocol_of_path(path) == protocol
