from collections.abc import Callable

import pytest

from guardproxy.codecs import Codec, CodecOptions, make_codec
from guardproxy.codecs.json_text import DEFAULT_PARSER, JsonReader

MakeCodec = Callable[..., Codec]


@pytest.fixture(params=["simdjson", "without simdjson"])
def make(request: pytest.FixtureRequest) -> MakeCodec:
    """Make a codec by its protocol and options, with simdjson and without."""
    if request.param == "simdjson" and DEFAULT_PARSER is None:
        pytest.skip("pysimdjson is not installed")
    parser = DEFAULT_PARSER if request.param == "simdjson" else None

    def made(protocol: str, **options: object) -> Codec:
        return make_codec(protocol, CodecOptions(**options), JsonReader(parser=parser))  # type: ignore[arg-type]

    return made
