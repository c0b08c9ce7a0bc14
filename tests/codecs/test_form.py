import json
import tracemalloc
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.codecs import Codec, CodecOptions, make_codec
from guardproxy.codecs.preset import TEXT, ErrorShape, Form, Preset
from guardproxy.errors import DecodeError, OpaqueError
from guardproxy.message import Message
from guardproxy.table import Table

URLENCODED = "application/x-www-form-urlencoded"
DOCUMENT = '{"data": {"names": ["a", "b c"], "ndarray": [[1.5, "x+y & z=1;%"], [2, "ß"]]}}'
PRESET = Preset(
    "mine",
    (Form("/data/ndarray", columns="/data/names"),),
    (Form("/data/ndarray"),),
    ErrorShape(TEXT),
    media={URLENCODED: "form", "multipart/form-data": "form"},
)


def codec() -> Codec:
    return make_codec(PRESET, CodecOptions())


def request(body: bytes, content_type: str = URLENCODED) -> Table:
    return codec().decode_request(Message(body, content_type))


def multipart(*parts: bytes, boundary: bytes = b"xyz", end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + end


def named(name: str, content: bytes, more: bytes = b"") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"'.encode() + more + b"\r\n\r\n" + content


MULTIPART = "multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    "escape", [quote_plus, quote, lambda text: quote(text, safe='{}[]":, ').replace(" ", "+")]
)
def test_the_field_json_holds_the_document(escape: Any) -> None:
    table = request(f"json={escape(DOCUMENT)}".encode())
    assert table.fields == ("a", "b c")
    assert table.record(0) == {"a": 1.5, "b c": "x+y & z=1;%"}
    assert table.record(1) == {"a": 2.0, "b c": "ß"}


def test_seldons_clients_send_forms() -> None:
    codec = make_codec("seldon", CodecOptions())
    body = urlencode({"json": DOCUMENT, "isDefault": "false"}).encode()
    assert codec.decode_request(Message(body, URLENCODED)).record(1) == {"a": 2.0, "b c": "ß"}


def test_other_fields_are_passed_over() -> None:
    body = urlencode({"isDefault": "false", "json": DOCUMENT, "x": ""}).encode() + b"&&y"
    assert request(body).rows == 2


def test_a_query_is_a_form() -> None:
    assert request(b"json=" + quote(DOCUMENT).encode(), f"{URLENCODED}; charset=utf-8").rows == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"json=%7B%7D&json=%7B%7D", "2 fields 'json', not one"),
        (b"json=%7B%7D&j%73on=%7B%7D", "2 fields 'json', not one"),
        (b"jsons=%7B%7D", "0 fields 'json', not one"),
        (b"", "0 fields 'json', not one"),
        (b"json=%7B%zz", "not well escaped"),
        (b"json=%7B%7D%", "not well escaped"),
        (b"json=\xc3\x9f", "not well escaped"),
        (b"json=%FF", "not UTF-8"),
        (b"json=", "not valid JSON"),
        (b"json=%EF%BB%BF%7B%7D", "byte order mark"),
        (b'json={"data":{"ndarray":[[1]]},"data":{"ndarray":[[2]]}}', "same key twice"),
        (b"json=" + b"[" * 100_000, "nested"),
        (b"json=%7B%7D" + b"&a" * 100_000, "more than 64 fields"),
    ],
)
def test_what_two_parsers_may_read_differently_is_undecodable(body: bytes, said: str) -> None:
    with pytest.raises(DecodeError, match=said) as caught:
        request(body)
    assert not isinstance(caught.value, OpaqueError)


def test_escapes_take_memory_in_proportion_to_the_form() -> None:
    body = b"json=" + b"%5B" * 100_000
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="nested"):
            request(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(body)


def test_another_character_set_is_undecodable() -> None:
    with pytest.raises(DecodeError, match="character set"):
        request(b"json=%7B%7D", f"{URLENCODED}; charset=iso-8859-1")


@pytest.mark.parametrize("name", ["json", "data"])
@pytest.mark.parametrize("more", [b"", b"\r\nContent-Type: application/json", b'; filename="a b.json"'])
@pytest.mark.parametrize("end", [b"--", b"--\r\n"])
def test_a_multipart_form_with_one_document_is_read(name: str, more: bytes, end: bytes) -> None:
    body = multipart(named(name, DOCUMENT.encode(), more), end=end)
    for content_type in (MULTIPART, 'Multipart/Form-Data; charset=utf-8; boundary="xyz"'):
        assert request(body, content_type).record(1) == {"a": 2.0, "b c": "ß"}


def test_a_multipart_form_with_two_documents_is_undecodable() -> None:
    part = named("json", DOCUMENT.encode())
    with pytest.raises(DecodeError, match="more than one JSON document") as caught:
        request(multipart(part, part), MULTIPART)
    assert not isinstance(caught.value, OpaqueError)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (multipart(named("data", b"\xff\xd8\xff\xe0", b'; filename="cat.jpg"\r\nContent-Type: image/jpeg')), MULTIPART),
        (multipart(named("json", b"{}"), named("image", b"{}")), MULTIPART),
        (multipart(named("image", b"{}")), MULTIPART),
        (multipart(named("json", b"{}", b"\r\nContent-Transfer-Encoding: base64")), MULTIPART),
        (multipart(named("json", b"{}", b"; name=data")), MULTIPART),
        (multipart(named("json", b"{}", b'\r\nContent-Disposition: form-data; name="x"')), MULTIPART),
        (multipart(b"no header"), MULTIPART),
        (b"preamble\r\n" + multipart(named("json", b"{}")), MULTIPART),
        (multipart(named("json", b"{}"), end=b""), MULTIPART),
        (multipart(named("json", b"{}"), end=b"--\r\nepilogue"), MULTIPART),
        (multipart(named("json", b"{}\r\n--xyz9\r\n")), MULTIPART),
        (b"", MULTIPART),
        (b"--xyz--", MULTIPART),
        (multipart(named("json", b"{}")), "multipart/form-data"),
        (multipart(named("json", b"{}")), f"{MULTIPART}; boundary=abc"),
        (multipart(named("json", b"{}")), f"{MULTIPART}; boundary*=utf-8''abc"),
        (multipart(named("json", b"{}")), f"{MULTIPART}; BOUNDARY = abc"),
        (multipart(*[named("json", b"{}")] * 100), MULTIPART),
        (b"\r\n--xyz" * 100_000, MULTIPART),
    ],
)  # fmt: skip
def test_a_multipart_form_that_leaves_its_reader_a_choice_is_opaque(body: bytes, content_type: str) -> None:
    with pytest.raises(OpaqueError):
        request(body, content_type)


def test_an_answer_is_never_a_form() -> None:
    message = Message(b"json=%5B%5D", URLENCODED)
    with pytest.raises(DecodeError, match="the response is a form"):
        codec().decode_response(message, 1)


VALUES = st.lists(st.one_of(st.floats(-1e9, 1e9), st.text(st.characters(blacklist_categories=["Cs"]), max_size=5)),
                  min_size=1, max_size=4)  # fmt: skip


@given(VALUES, st.booleans())
def test_a_document_is_read_from_a_form_as_it_would_be_alone(values: list[Any], spaced: bool) -> None:
    document = json.dumps({"data": {"ndarray": [values]}}, ensure_ascii=spaced)
    alone = codec().decode_request(Message(document.encode()))
    encoded = urlencode({"json": document}, quote_via=quote_plus if spaced else quote).encode()
    assert request(encoded).record(0) == alone.record(0)
    assert request(
        multipart(named("json", document.encode()), boundary=b"q9"), "multipart/form-data; boundary=q9"
    ).record(0) == alone.record(0)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for content_type in (URLENCODED, MULTIPART):
        try:
            request(body, content_type)
        except DecodeError:
            continue
