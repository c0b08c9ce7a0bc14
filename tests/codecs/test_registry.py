import json

import pytest

from guardproxy.codecs import PROTOCOLS, CodecOptions, make_codec


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
    with pytest.raises(ValueError, match="one of open-inference, kserve-v1, mlflow, json"):
        make_codec("xyz", CodecOptions())


@pytest.mark.parametrize("depth", [0, 7, 257, 10_000])
def test_a_depth_that_cannot_be_kept_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="max_depth"):
        make_codec("mlflow", CodecOptions(max_depth=depth))


ERRORS = {
    "open-inference": {"error": 'no "x"'},
    "kserve-v1": {"error": 'no "x"'},
    "mlflow": {"error_code": "BAD_REQUEST", "message": 'no "x"'},
    "json": {"error": 'no "x"', "status": 422},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_error_has_the_shape_that_the_protocols_clients_read(protocol: str) -> None:
    content_type, body = make_codec(protocol, CodecOptions()).error(422, 'no "x"')
    assert content_type == b"application/json"
    assert json.loads(body) == ERRORS[protocol]


def test_mlflow_names_what_kind_of_error_it_is() -> None:
    codec = make_codec("mlflow", CodecOptions())
    codes = {status: json.loads(codec.error(status, "")[1])["error_code"] for status in (400, 429, 500, 503)}
    assert codes == {
        400: "BAD_REQUEST",
        429: "REQUEST_LIMIT_EXCEEDED",
        500: "INTERNAL_ERROR",
        503: "TEMPORARILY_UNAVAILABLE",
    }
