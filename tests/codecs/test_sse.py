import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.codecs import Codec, CodecOptions, make_codec
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, PatchError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Cell, Table

TYPE = "text/event-stream"


def openai(**options: Any) -> Codec:
    return make_codec("openai", CodecOptions(**options))


def stream(*events: Any, end: str = "data: [DONE]\n\n") -> bytes:
    return ("".join(f"data: {json.dumps(event)}\n\n" for event in events) + end).encode()


def chat(*choices: dict[str, Any], **beside: Any) -> dict[str, Any]:
    return {"id": "c-1", "object": "chat.completion.chunk", "choices": list(choices), **beside}


def delta(index: int, finish: str | None = None, **members: Any) -> dict[str, Any]:
    return {"index": index, "delta": members, "logprobs": None, "finish_reason": finish}


STREAM = stream(
    chat(delta(0, role="assistant", content="")),
    chat(delta(0, content="The ")),
    chat(delta(1, role="assistant", content="A")),
    chat(delta(0, content="cat"), delta(1, content=" dog")),
    chat(delta(1, "length")),
    chat(delta(0, "stop")),
    chat(usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
)


def decode(body: bytes, rows: int | None, protocol: str = "openai", **options: Any) -> Table:
    return make_codec(protocol, CodecOptions(**options)).decode_response(Message(body, TYPE), rows)


def splice(body: bytes, rows: int, *values: tuple[int, dict[str, Cell]], protocol: str = "openai") -> bytes:
    patch = [Replacement(row, cells, "test") for row, cells in values]
    return make_codec(protocol, CodecOptions()).splice(Message(body, TYPE), rows, patch).body


def data_of(body: bytes) -> list[Any]:
    """The documents of a plain stream."""
    texts = [line.removeprefix("data: ") for line in body.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(text) for text in texts if text != "[DONE]"]


# One document in pieces


def test_a_streamed_answer_has_the_fields_and_values_of_one_that_is_not() -> None:
    whole = {
        "id": "c-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "The cat"}, "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": "A dog"}, "finish_reason": "length"},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    expected = openai().decode_response(Message(json.dumps(whole).encode(), "application/json"), 2)
    table = decode(STREAM, 2)
    assert table.fields == expected.fields
    assert [table.record(row) for row in range(2)] == [expected.record(row) for row in range(2)]
    assert table.record(0)["content"] == "The cat"
    assert table.record(1)["finish_reason"] == "length"


def test_a_stream_needs_no_last_event_and_may_end_in_it() -> None:
    for end in ("", "data: [DONE]\n\n", "data: [DONE]\n", "data: [DONE]", ": bye", "event: end\n"):
        body = stream(chat(delta(0, content="x")), end=end)
        assert decode(body, 1).record(0)["content"] == "x"


def test_text_completions_are_streamed_too() -> None:
    body = stream(
        {"choices": [{"text": "a", "index": 0, "finish_reason": None}]},
        {"choices": [{"text": "b", "index": 0, "finish_reason": "stop"}], "usage": None},
    )
    assert decode(body, 1).record(0)["text"] == "ab"
    assert data_of(splice(body, 1, (0, {"text": "z"})))[0]["choices"][0]["text"] == "z"
    assert data_of(splice(body, 1, (0, {"text": "z"})))[1]["choices"][0]["text"] == ""


def test_a_choice_without_content_has_the_empty_text() -> None:
    tool = {"index": 0, "function": {"name": "f", "arguments": "{"}}
    body = stream(
        chat(delta(0, role="assistant", content=None, tool_calls=[tool])), chat(delta(0, "tool_calls"))
    )
    assert decode(body, 1).record(0)["content"] == ""
    assert decode(stream(chat(delta(0, "stop"))), 1).record(0)["finish_reason"] == "stop"


def test_a_null_at_first_gives_way_to_text() -> None:
    body = stream(chat(delta(0, content=None)), chat(delta(0, content="x")), chat(delta(0, content=None)))
    assert decode(body, 1).record(0)["content"] == "x"
    changed = data_of(splice(body, 1, (0, {"content": "new"})))
    assert [event["choices"][0]["delta"]["content"] for event in changed] == [None, "new", None]


def test_choices_without_a_number_are_counted() -> None:
    body = stream({"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]})
    assert decode(body, 2).column("content") == ("a", "b")


def test_choices_that_are_not_the_requests_rows_are_unaligned() -> None:
    with pytest.raises(UnalignedError):
        decode(STREAM, 3)
    with pytest.raises(UnalignedError):
        decode(stream(chat(delta(0, content="a")), chat(delta(2, content="b"))), 2)


def test_a_new_text_stands_where_the_old_one_began_and_nothing_else_changes() -> None:
    changed = splice(STREAM, 2, (0, {"content": "A bird"}))
    expected = STREAM.replace(b'"The "', b'"A bird"').replace(b'"cat"', b'""')
    assert changed == expected
    assert decode(changed, 2).column("content") == ("A bird", "A dog")


def test_another_value_is_written_where_it_came_last() -> None:
    changed = splice(STREAM, 2, (1, {"finish_reason": "stop", "content": "é"}))
    expected = STREAM.replace(b'"A"', b'"\\u00e9"').replace(b'" dog"', b'""').replace(b'"length"', b'"stop"')
    assert changed == expected
    assert decode(changed, 2).record(1)["finish_reason"] == "stop"


def test_a_new_text_has_no_escapes_where_its_event_has_none() -> None:
    body = 'data: {"choices": [{"index": 0, "delta": {"content": "ß"}}]}\n\n'.encode()
    assert splice(body, 1, (0, {"content": "é"})) == body.replace("ß".encode(), "é".encode())


def test_what_cannot_be_written_into_a_stream_is_refused() -> None:
    with pytest.raises(PatchError):
        splice(STREAM, 2, (0, {"content": 1.5}))
    with pytest.raises(PatchError):
        splice(STREAM, 2, (0, {"content": None}))
    with pytest.raises(PatchError):
        splice(STREAM, 2, (5, {"content": "x"}))
    with pytest.raises(PatchError):
        splice(STREAM, 2, (0, {"nothing": "x"}))


def test_what_is_there_already_leaves_the_same_message() -> None:
    message = Message(STREAM, TYPE)
    table = openai().decode_response(message, 2)
    patch = [Replacement(row, {"content": table.cell("content", row)}, "test") for row in range(2)]
    assert openai().splice(message, 2, patch) is message
    assert openai().splice(message, 2, ()) is message


@pytest.mark.parametrize(
    "events",
    [
        [{"error": {"message": "x"}}],
        [[1]],
        [{"choices": {"index": 0}}],
        [{"choices": [1]}],
        [{"choices": [{"index": 0.5, "delta": {"content": "x"}}]}],
        [{"choices": [{"index": True, "delta": {"content": "x"}}]}],
        [{"choices": [{"index": 0, "delta": "x"}]}],
        [{"choices": [{"index": 0, "delta": {"content": "x"}, "message": 1}]}],
        [],
    ],
)
def test_events_of_another_kind_are_undecodable(events: list[Any]) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(stream(*events), 1)
    assert not isinstance(caught.value, (OpaqueError, UnalignedError))


@pytest.mark.parametrize(
    "text",
    [
        '{"choices": [{"index": 0, "delta": {"content": "a", "content": "b"}}]}',
        '{"choices": [{"index": 0, "index": 1, "delta": {"content": "a"}}]}',
        '{"choices": [], "choices": [{"index": 0, "delta": {"content": "a"}}]}',
    ],
)
def test_a_key_twice_is_undecodable(text: str) -> None:
    with pytest.raises(DecodeError, match="same key twice"):
        decode(f"data: {text}\n\n".encode(), 1)


# A list of items


def test_for_other_protocols_each_event_is_an_item() -> None:
    body = stream({"y": 1.5, "label": "a"}, {"y": 2, "label": "b"})
    assert decode(body, 2, "mlflow").column("y") == (1.5, 2.0)
    assert decode(body, None, "json").column("label") == ("a", "b")
    assert decode(stream(0.5, 0.25), 2, "open-inference").column("prediction") == (0.5, 0.25)
    assert splice(body, 2, (1, {"y": 3}), protocol="mlflow") == body.replace(b'"y": 2', b'"y": 3.0')


@pytest.mark.parametrize("events", [({"y": 1.5}, {"y": 2}), (1.5, 2), ([1.5], [2])])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_events_that_are_not_as_many_as_the_rows_are_unaligned(events: Sequence[Any], rows: int) -> None:
    with pytest.raises(UnalignedError, match=f"2 events for {rows} rows"):
        decode(stream(*events), rows, "mlflow")
    with pytest.raises(UnalignedError, match=f"2 events for {rows} rows"):
        splice(stream(*events), rows, (0, {"y": 1}), protocol="mlflow")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_events_are_parsed_as_the_html_standard_says(ending: str) -> None:
    lines = [
        ": comment", "event: row", "id: 1", 'data: {"y":', "data:1.5}", "", "data", "", "data:", "", "", "retry: 10", "datas: x",
        "data:  [", "data: 7", "data: ]", "", "data: [DONE]", "",
    ]  # fmt: skip
    body = "".join(line + ending for line in lines).encode()
    with pytest.raises(DecodeError):  # one is an object and one an array
        decode(body, 2, "json")
    body = body.replace(b'{"y":', b"[").replace(b"1.5}", b"1.5]")
    assert decode(body, 2, "json").column("prediction") == (1.5, 7.0)
    assert splice(body, 2, (1, {"prediction": 2.5}), protocol="json") == body.replace(
        b"data: 7", b"data: 2.5"
    )
    assert splice(body, 2, (0, {"prediction": 2.5}), protocol="json") == body.replace(b"1.5]", b"2.5]")


# What is refused


@pytest.mark.parametrize("protocol", ["openai", "json"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'data: {"a": 1}', "ends inside an event"),
        (b'data: {"a": 1}\n', "ends inside an event"),
        (b"data: 1\n\ndata: 2\r\n", "ends inside an event"),
        (b"data: [DONE]\ndata: x\n\n", "not valid JSON"),
        (b"data: x\n\n", "event 1 is not valid JSON"),
        (b"data: {}\n\ndata: {} {}\n\n", "event 2 is not valid JSON"),
        (b"data: {}\n\ndata: 1,2\n\n", "event 2 is not valid JSON"),
        (b"\xef\xbb\xbfdata: {}\n\n", "byte order mark"),
        (b"data: \xff\n\n", "not UTF-8"),
        (b'data: "\\ud800"\n\n', "surrogate"),
        (b"data: 1e400\n\n", "not valid JSON"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "nested"),
    ],
)
def test_a_stream_that_is_cut_or_no_json_is_undecodable(protocol: str, body: bytes, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        decode(body, None, protocol)


@pytest.mark.parametrize("protocol", ["openai", "json"])
def test_events_and_lines_are_bounded(protocol: str) -> None:
    event = chat(delta(0, content="x")) if protocol == "openai" else {"y": 1}
    rows = 1 if protocol == "openai" else 5
    assert decode(stream(*[event] * 5), rows, protocol, max_rows=5).rows == rows
    with pytest.raises(DecodeError, match="more than 5 rows"):
        decode(stream(*[event] * 6), rows, protocol, max_rows=5)
    if protocol == "openai":
        with pytest.raises(DecodeError, match="more than 5 rows"):
            decode(stream(chat(*[delta(0, content="x")] * 6)), rows, protocol, max_rows=5)
    with pytest.raises(DecodeError, match="more than 80 lines"):
        decode(b"\n" * 81, rows, protocol, max_rows=5)
    with pytest.raises(DecodeError, match="more than 80 lines"):
        decode(b": x\r" * 81, rows, protocol, max_rows=5)


def test_a_stream_is_no_request() -> None:
    with pytest.raises(OpaqueError, match="stream of events"):
        openai().decode_request(Message(b"data: {}\n\n", TYPE))


# Laws

TOKENS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=4)
ENDINGS = st.sampled_from(["\n", "\r\n", "\r"])


def shuffled(pieces: Sequence[Sequence[str]], order: Iterable[int]) -> list[dict[str, Any]]:
    """Events that bring the texts of each choice in order, the choices mixed."""
    rest = [iter(texts) for texts in pieces]
    begun = chat(*(delta(index, role="assistant") for index in range(len(pieces))))
    mixed = ((index % len(rest), next(rest[index % len(rest)], None)) for index in order)
    events = [chat(delta(index, content=text)) for index, text in mixed if text is not None]
    return [
        begun,
        *events,
        *(chat(delta(index, content=text)) for index, texts in enumerate(rest) for text in texts),
    ]


@given(
    st.lists(st.lists(TOKENS, min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 2), max_size=12),
    ENDINGS, st.booleans(), st.data(),
)  # fmt: skip
def test_texts_are_joined_and_a_new_one_takes_the_place_of_all_its_pieces(
    pieces: list[list[str]], order: list[int], ending: str, ascii_only: bool, data: st.DataObject
) -> None:
    events = shuffled(pieces, order)
    body = "".join(
        f"data: {json.dumps(event, ensure_ascii=ascii_only)}{ending}{ending}" for event in events
    ).encode()
    texts = ["".join(tokens) for tokens in pieces]
    rows = len(pieces)
    assert list(decode(body, rows).column("content")) == texts

    row = data.draw(st.integers(0, rows - 1))
    new = data.draw(TOKENS)
    message = Message(body, TYPE)
    changed = openai().splice(message, rows, [Replacement(row, {"content": new}, "test")])
    if new == texts[row]:
        assert changed is message
        return
    assert list(decode(changed.body, rows).column("content")) == [*texts[:row], new, *texts[row + 1 :]]
    # The events of all other choices are the same bytes, and so is all else in those of this one.
    pairs = list(zip(body.decode().split(ending), changed.body.decode().split(ending), strict=True))
    assert all(old == altered for old, altered in pairs if f'"index": {row}' not in old)
    for old, altered in pairs:
        if old != altered:
            before, after = (json.loads(line.removeprefix("data: ")) for line in (old, altered))
            after["choices"][0]["delta"]["content"] = before["choices"][0]["delta"]["content"]
            assert before == after


@given(st.text('data: {}[]"\n\r0159.,ey', max_size=60), st.integers(0, 3))
def test_any_text_is_read_or_refused(text: str, rows: int) -> None:
    for protocol in ("openai", "json"):
        try:
            decode(text.encode(), rows, protocol)
        except DecodeError:
            continue
