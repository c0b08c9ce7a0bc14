"""The openai client and boto3's SageMaker client, whose services are elsewhere, before small servers of the same shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.servers.open_inference import refusal
from tests.servers.pair import Pair, running_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT_RULES = """\
guardproxy: 1
model: chat
owner: reviewer-a
defaults: {mode: MODE, on_unknown: ignore}
rules:
  - id: no-prices
    text: {field: output.content, must_not_contain: [price]}
    action: fallback
    fallback: [{value: {content: "I cannot say."}}]
  - id: no-abuse
    text: {field: output.content, must_not_contain: [idiot]}
    action: reject
    message: we do not answer in this tone
  - id: temperature
    require: features.temperature <= 1.5
    action: reject
    message: "a temperature of {features.temperature} is above 1.5"
"""
COMPLETIONS_RULES = """\
guardproxy: 1
model: completions
owner: reviewer-a
defaults: {mode: MODE, on_unknown: ignore}
rules:
  - id: no-prices
    text: {field: output.text, must_not_contain: [price]}
    action: fallback
    fallback: [{value: {text: "I cannot say."}}]
  - id: no-abuse
    text: {field: output.text, must_not_contain: [idiot]}
    action: reject
    message: we do not answer in this tone
"""
EMBEDDINGS_RULES = """\
guardproxy: 1
model: embeddings
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-long
    require: features.chars < 40
    action: fallback
    fallback: [{value: {embedding: [0.5, 0.25, 0.125, -2]}}]
  - id: nothing-to-embed
    forbid: features.input == ""
    action: reject
    message: an empty text has no embedding
"""
SCORES_RULES = """\
guardproxy: 1
model: scores
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.score < 1000
    action: fallback
    fallback: [{value: 7.5}]
  - id: never-seen
    forbid: output.score == 999
    on_unknown: ignore
    action: reject
    message: "{output.score:.0f} was never seen"
  - id: unit-error
    forbid: features.b == 4242
    on_unknown: ignore
    action: reject
    message: "b is {features.b:.0f}, which no meter shows"
"""
CANNOT_SAY = "I cannot say."
VECTOR = [0.5, 0.25, 0.125, -2.0]
LONG = "forty characters and more are too many for it"
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def chat(prompt: Any, **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
    return {"model": "small-1", "messages": messages, **more}


def completion(prompt: Any, **more: Any) -> dict[str, Any]:
    return {"model": "small-1", "prompt": prompt, **more}


def embedding(texts: Any, **more: Any) -> dict[str, Any]:
    return {"model": "small-1", "input": texts, **more}


class Case(NamedTuple):
    """What the client asks, how many rows that is, and which of them is replaced."""

    kind: str
    arguments: dict[str, Any]
    rows: int = 1
    row: int = 0


CASES = {
    "a chat": Case("chat", chat("the price is 7 €")),
    "three choices": Case("chat", chat("the sky is blue|the price is 7|né à Paris", n=3), 3, 1),
    "a chat with parameters": Case(
        "chat", chat("the price", temperature=0.5, max_tokens=9, top_p=0.9, seed=1)
    ),
    "a completion": Case("completions", completion("the price is 7")),
    "three prompts": Case("completions", completion(["the sky", "the price", "the sea"]), 3, 1),
    "two choices of two prompts": Case("completions", completion(["sky|sea", "day|price"], n=2), 4, 3),
    "an embedding": Case("embeddings", embedding(LONG)),
    "three embeddings": Case("embeddings", embedding(["a sky", LONG, "né à Paris"]), 3, 1),
    "embeddings as numbers": Case(
        "embeddings", embedding(["a sky", LONG, "a sea"], encoding_format="float"), 3, 1
    ),
}
STREAMS = {
    "a chat": Case("chat", chat("the price is 7 €")),
    "a chat with usage": Case("chat", chat("the price is 7", stream_options={"include_usage": True})),
    "two choices": Case("chat", chat("the sky is blue|the price is 7", n=2), 2, 1),
    "a completion": Case("completions", completion("the price is 7")),
}
LOOP = [pytest.param(False, id="threads"), pytest.param(True, id="asyncio")]

ROWS = [[1.5, 2.25, 3.0], [4000.25, 0.5, 0.25], [0.1, 0.2, 0.3]]
TYPES = ("text/csv", "application/json", "application/jsonlines", "application/x-npy")

pytestmark = pytest.mark.timeout(300)
"""The first test waits for the servers to come up."""


@pytest.fixture(scope="module")
def openai(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(
        "clients",
        tmp_path_factory.mktemp("openai"),
        server=["tests.servers.models.openai_server", "PORT"],
        ready="/v1/models",
        client="openai_client",
        # The paths tell their protocol by themselves, whatever stands before them.
        routes={
            "/v1/chat/completions": {"model": "chat"},
            "/v1/completions": {"model": "completions"},
            "/v1/embeddings": {"model": "embeddings"},
            "/buffered/v1/chat/completions": {"model": "chat", "buffer": True},
            "/buffered/v1/completions": {"model": "completions", "buffer": True},
            "/packed/v1/chat/completions": {"model": "chat", "buffer": True},
            "/packed/v1/embeddings": {"model": "embeddings"},
        },
        rules={"chat": CHAT_RULES, "completions": COMPLETIONS_RULES, "embeddings": EMBEDDINGS_RULES},
    ) as started:
        yield started


@pytest.fixture(scope="module")
def sagemaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    route = {
        "model": "scores",
        "features": ["a", "b", "c"],
        "outputs": ["score"],
        "upstream_path": "/invocations",
    }
    with running_pair(
        "clients",
        tmp_path_factory.mktemp("sagemaker"),
        server=["tests.servers.models.sagemaker_container", "PORT"],
        ready="/ping",
        client="sagemaker_runtime",
        routes={"/endpoints/scores/invocations": route},
        rules={"scores": SCORES_RULES},
    ) as started:
        yield started


def counts(rows: int, **more: int) -> dict[str, int]:
    """Return what is counted when `more` rows are not allowed."""
    allowed = rows - sum(more.values())
    return {**({"allowed": allowed} if allowed else {}), **more}


# -------------------------------------------------------------------------------------------------------------- openai


def with_row_replaced(kind: str, held: dict[str, Any], row: int) -> dict[str, Any]:
    """Return what the client's object holds once one row says what the fallback says."""
    if kind == "embeddings":
        vectors = list(held["data"])
        vectors[row] = {**vectors[row], "embedding": VECTOR}
        return {**held, "data": vectors}
    choices = list(held["choices"])
    if kind == "chat":
        choices[row] = {**choices[row], "message": {**choices[row]["message"], "content": CANNOT_SAY}}
    else:
        choices[row] = {**choices[row], "text": CANNOT_SAY}
    return {**held, "choices": choices}


@pytest.mark.parametrize("loop", LOOP)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_openai_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    openai: Pair, case: Case, loop: bool
) -> None:
    openai.shadow.counted()
    call = {"kind": case.kind, "arguments": case.arguments, "loop": loop}
    direct = openai.client("create", url=f"{openai.url}/v1", **call)
    assert openai.client("create", url=f"{openai.shadow.url}/v1", **call) == direct
    assert openai.shadow.counted() == {"allowed": case.rows}


@pytest.mark.parametrize("loop", LOOP)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_one_choice_that_a_rule_replaced_is_the_one_that_the_openai_clients_object_shows(
    openai: Pair, case: Case, loop: bool
) -> None:
    openai.enforce.counted()
    call = {"kind": case.kind, "arguments": case.arguments, "loop": loop}
    direct = openai.client("create", url=f"{openai.url}/v1", **call)
    guarded = openai.client("create", url=f"{openai.enforce.url}/v1", **call)
    assert guarded != direct
    assert guarded == with_row_replaced(case.kind, direct, case.row)
    assert openai.enforce.counted() == counts(case.rows, replaced=1)


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [(chat("call"), "allowed"), (chat([{"type": "text", "text": "what is this?"}, PICTURE]), "allowed")],
    ids=["a tool is called", "a picture"],
)
def test_a_chat_whose_message_is_no_plain_text_is_the_clients_own_object(
    openai: Pair, arguments: dict[str, Any], outcome: str
) -> None:
    direct = openai.client("create", url=f"{openai.url}/v1", kind="chat", arguments=arguments)
    for front in (openai.shadow, openai.enforce):
        front.counted()
        assert openai.client("create", url=f"{front.url}/v1", kind="chat", arguments=arguments) == direct
        assert front.counted() == {outcome: 1}


@pytest.mark.parametrize("loop", LOOP)
@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        ("chat", chat("hello|you idiot", n=2), "we do not answer in this tone"),
        ("chat", chat("hello", temperature=1.75), "a temperature of 1.75 is above 1.5"),
        ("completions", completion(["hello", "you idiot"]), "we do not answer in this tone"),
        ("embeddings", embedding(["a", ""]), "an empty text has no embedding"),
    ],
)
def test_a_reject_is_the_openai_clients_usual_exception_with_the_rules_sentence(
    openai: Pair, kind: str, arguments: dict[str, Any], sentence: str, loop: bool
) -> None:
    openai.enforce.counted()
    refused = refusal(
        openai.client, "create", url=f"{openai.enforce.url}/v1", kind=kind, arguments=arguments, loop=loop
    )
    assert refused.kind == "UnprocessableEntityError"
    assert sentence in refused.sentence
    assert openai.enforce.counted().get("rejected")


@pytest.mark.parametrize("loop", LOOP)
@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS)
def test_a_stream_reaches_the_openai_client_event_by_event_and_is_counted_as_unguarded(
    openai: Pair, case: Case, loop: bool
) -> None:
    call = {"kind": case.kind, "arguments": case.arguments, "loop": loop}
    direct = openai.client("stream", url=f"{openai.url}/v1", **call)
    for front in (openai.shadow, openai.enforce):
        front.counted()
        assert openai.client("stream", url=f"{front.url}/v1", **call) == direct
        assert front.counted()["streamed"] == 1


@pytest.mark.parametrize("loop", LOOP)
@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS)
def test_the_events_of_a_stream_that_was_read_whole_are_the_servers_own(
    openai: Pair, case: Case, loop: bool
) -> None:
    openai.shadow.counted()
    call = {"kind": case.kind, "arguments": case.arguments, "loop": loop}
    direct = openai.client("stream", url=f"{openai.url}/buffered/v1", **call)
    assert len(direct["events"]) > case.rows
    assert openai.client("stream", url=f"{openai.shadow.url}/buffered/v1", **call) == direct
    assert openai.shadow.counted() == {"allowed": case.rows}


@pytest.mark.parametrize("loop", LOOP)
@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS)
def test_a_choice_that_a_rule_replaced_is_what_the_events_of_a_whole_stream_say_together(
    openai: Pair, case: Case, loop: bool
) -> None:
    openai.enforce.counted()
    call = {"kind": case.kind, "arguments": case.arguments, "loop": loop}
    direct = openai.client("stream", url=f"{openai.url}/buffered/v1", **call)
    guarded = openai.client("stream", url=f"{openai.enforce.url}/buffered/v1", **call)
    expected = list(direct["texts"])
    expected[case.row] = CANNOT_SAY
    assert guarded["texts"] == expected
    assert guarded["ends"] == direct["ends"] == ["stop"] * case.rows
    assert beside(guarded["events"], case.row) == beside(direct["events"], case.row)
    assert openai.enforce.counted() == counts(case.rows, replaced=1)


def beside(events: list[dict[str, Any]], row: int) -> list[dict[str, Any]]:
    """Return the events that say nothing of one choice: those of other choices, and the usage."""
    return [event for event in events if row not in {choice["index"] for choice in event["choices"]}]


@pytest.mark.parametrize("loop", LOOP)
def test_what_a_server_compresses_is_judged_and_compressed_again(openai: Pair, loop: bool) -> None:
    arguments = chat("the sky is blue|the price is 7", n=2)
    for more in ({}, {"stream": True}):
        for front in (openai, openai.shadow, openai.enforce):
            asked = {"url": f"{front.url}/packed/v1", "kind": "chat", "arguments": {**arguments, **more}}
            assert openai.client("coding", **asked) == "gzip"
    for call in ("create", "stream"):
        case = {"kind": "chat", "arguments": arguments, "loop": loop}
        direct = openai.client(call, url=f"{openai.url}/packed/v1", **case)
        openai.shadow.counted()
        openai.enforce.counted()
        assert openai.client(call, url=f"{openai.shadow.url}/packed/v1", **case) == direct
        assert openai.shadow.counted() == {"allowed": 2}
        guarded = openai.client(call, url=f"{openai.enforce.url}/packed/v1", **case)
        if call == "create":
            assert guarded == with_row_replaced("chat", direct, 1)
        else:
            assert guarded["texts"] == ["the sky is blue", CANNOT_SAY]
        assert openai.enforce.counted() == {"allowed": 1, "replaced": 1}


def test_one_of_a_thousand_embeddings_is_replaced_and_only_it(openai: Pair) -> None:
    texts = [f"sky {n}" for n in range(1_000)]
    texts[617] = LONG
    call = {"kind": "embeddings", "arguments": embedding(texts)}
    direct = openai.client("create", url=f"{openai.url}/packed/v1", **call)
    openai.enforce.counted()
    guarded = openai.client("create", url=f"{openai.enforce.url}/packed/v1", **call)
    assert guarded == with_row_replaced("embeddings", direct, 617)
    assert openai.enforce.counted() == {"allowed": 999, "replaced": 1}


@pytest.mark.parametrize("loop", LOOP)
def test_the_events_that_call_a_tool_are_the_servers_own(openai: Pair, loop: bool) -> None:
    call = {"kind": "chat", "arguments": chat("call"), "loop": loop}
    direct = openai.client("stream", url=f"{openai.url}/v1", **call)
    assert direct["ends"] == ["tool_calls"]
    for front in (openai.shadow, openai.enforce):
        for start, counted in (("/v1", {"unguarded": 1, "streamed": 1}), ("/buffered/v1", {"allowed": 1})):
            front.counted()
            assert openai.client("stream", url=f"{front.url}{start}", **call) == direct
            assert front.counted() == counted


@pytest.mark.parametrize("loop", LOOP)
def test_a_reject_of_a_whole_stream_is_raised_before_its_first_event(openai: Pair, loop: bool) -> None:
    call = {"kind": "chat", "arguments": chat("you idiot"), "loop": loop}
    refused = refusal(openai.client, "stream", url=f"{openai.enforce.url}/buffered/v1", **call)
    assert refused.kind == "UnprocessableEntityError"
    assert "we do not answer in this tone" in refused.sentence


def test_a_request_for_a_stream_is_refused_like_any_other(openai: Pair) -> None:
    call = {"kind": "chat", "arguments": chat("hello", temperature=1.75)}
    refused = refusal(openai.client, "stream", url=f"{openai.enforce.url}/v1", **call)
    assert refused.kind == "UnprocessableEntityError"
    assert "a temperature of 1.75 is above 1.5" in refused.sentence


def test_what_is_no_prediction_reaches_the_openai_client_as_the_server_says_it(openai: Pair) -> None:
    direct = openai.client("tell", url=f"{openai.url}/v1")
    assert [model["id"] for model in direct] == ["small-1"]
    for front in (openai.shadow, openai.enforce):
        assert openai.client("tell", url=f"{front.url}/v1") == direct


def test_the_openai_servers_own_errors_reach_the_client_as_they_are(openai: Pair) -> None:
    for kind, more in (
        ("NotFoundError", {"arguments": {**chat("hello"), "model": "large-1"}}),
        ("AuthenticationError", {"arguments": chat("hello"), "key": "wrong"}),
    ):
        direct = refusal(openai.client, "create", url=f"{openai.url}/v1", kind="chat", **more)
        assert direct.kind == kind
        for front in (openai.shadow, openai.enforce):
            guarded = refusal(openai.client, "create", url=f"{front.url}/v1", kind="chat", **more)
            assert (guarded.kind, guarded.sentence) == (direct.kind, direct.sentence)


# ----------------------------------------------------------------------------------------------------------- SageMaker


def replaced(held: dict[str, Any], row: int) -> dict[str, Any]:
    """Return what boto3's client held once one row has the fallback's score."""
    value = held["value"]
    if isinstance(value, dict):
        scores = [*value["values"][:row], 7.5, *value["values"][row + 1 :]]
        return {**held, "value": {**value, "values": scores}}
    new = {"score": 7.5} if isinstance(value[row], dict) else 7.5
    return {**held, "value": [*value[:row], new, *value[row + 1 :]]}


def by_the_container(held: dict[str, Any]) -> dict[str, Any]:
    """Return a direct answer as the container gives it behind its own path."""
    assert held["called_by"] == "/endpoints/scores/invocations"
    return {**held, "called_by": "/invocations"}


@pytest.mark.parametrize("accept", TYPES)
@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]], ids=["three", "one"])
def test_a_sagemaker_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    sagemaker: Pair, rows: list[list[float]], content_type: str, accept: str
) -> None:
    sagemaker.shadow.counted()
    call = {"endpoint": "scores", "rows": rows, "content_type": content_type, "accept": accept}
    direct = sagemaker.client("invoke", url=sagemaker.url, **call)
    assert sagemaker.client("invoke", url=sagemaker.shadow.url, **call) == by_the_container(direct)
    assert sagemaker.shadow.counted() == {"allowed": len(rows)}


@pytest.mark.parametrize("accept", TYPES)
@pytest.mark.parametrize("content_type", TYPES)
def test_the_one_score_that_a_rule_replaced_is_the_one_that_the_sagemaker_client_reads(
    sagemaker: Pair, content_type: str, accept: str
) -> None:
    sagemaker.enforce.counted()
    call = {"endpoint": "scores", "rows": ROWS, "content_type": content_type, "accept": accept}
    direct = sagemaker.client("invoke", url=sagemaker.url, **call)
    guarded = sagemaker.client("invoke", url=sagemaker.enforce.url, **call)
    assert guarded == replaced(by_the_container(direct), 1)
    assert sagemaker.enforce.counted() == {"allowed": 2, "replaced": 1}


@pytest.mark.parametrize("accept", TYPES)
@pytest.mark.parametrize("content_type", TYPES)
def test_one_of_two_thousand_scores_is_replaced_and_only_it(
    sagemaker: Pair, content_type: str, accept: str
) -> None:
    rows = [[n * 0.125, 0.1, -0.3] for n in range(2_000)]
    rows[1_234][1] = 5_000.25
    call = {"endpoint": "scores", "rows": rows, "content_type": content_type, "accept": accept}
    direct = sagemaker.client("invoke", url=sagemaker.url, **call)
    sagemaker.enforce.counted()
    guarded = sagemaker.client("invoke", url=sagemaker.enforce.url, **call)
    assert guarded == replaced(by_the_container(direct), 1_234)
    assert sagemaker.enforce.counted() == {"allowed": 1_999, "replaced": 1}


@pytest.mark.parametrize("rows", [{"instances": ROWS}, {"instances": [{"features": row} for row in ROWS]}])
def test_instances_are_judged_too(sagemaker: Pair, rows: Any) -> None:
    call = {"endpoint": "scores", "rows": rows, "content_type": TYPES[1], "accept": TYPES[1]}
    direct = sagemaker.client("invoke", url=sagemaker.url, **call)
    sagemaker.shadow.counted()
    assert sagemaker.client("invoke", url=sagemaker.shadow.url, **call) == by_the_container(direct)
    assert sagemaker.shadow.counted() == {"allowed": 3}
    guarded = sagemaker.client("invoke", url=sagemaker.enforce.url, **call)
    assert guarded == replaced(by_the_container(direct), 1)


@pytest.mark.parametrize("accept", ["text/csv", "application/json", "application/x-npy"])
def test_an_empty_cell_and_the_score_that_is_missing_for_it_pass_as_they_are(
    sagemaker: Pair, accept: str
) -> None:
    rows = [[1.0, 2.0, 3.0], [1.0, float("nan"), 3.0]]
    call = {"endpoint": "scores", "rows": rows, "content_type": "text/csv", "accept": accept}
    direct = sagemaker.client("invoke", url=sagemaker.url, **call)
    assert "nan" in repr(direct)
    sagemaker.shadow.counted()
    guarded = sagemaker.client("invoke", url=sagemaker.shadow.url, **call)
    assert repr(guarded) == repr(by_the_container(direct))
    assert sagemaker.shadow.counted() == {"allowed": 1, "warned": 1}
    guarded = sagemaker.client("invoke", url=sagemaker.enforce.url, **call)
    assert repr(guarded) == repr(replaced(by_the_container(direct), 1))


@pytest.mark.parametrize("accept", TYPES)
@pytest.mark.parametrize("content_type", TYPES)
def test_a_reject_is_the_model_error_that_a_model_behind_the_service_would_raise(
    sagemaker: Pair, content_type: str, accept: str
) -> None:
    for rows, sentence in (
        ([[1.0, 2.0, 3.0], [990.0, 9.0, 0.0]], "999 was never seen"),
        ([[1.0, 4242.0, 3.0]], "b is 4242, which no meter shows"),
    ):
        call = {"endpoint": "scores", "rows": rows, "content_type": content_type, "accept": accept}
        sagemaker.enforce.counted()
        refused = refusal(sagemaker.client, "invoke", url=sagemaker.enforce.url, **call)
        assert refused.kind == "ModelError"
        assert refused.sentence.count(sentence) == 2
        assert '"OriginalStatusCode": 422' in refused.sentence
        assert sagemaker.enforce.counted().get("rejected")


def test_an_endpoint_without_a_route_is_called_by_its_own_path(sagemaker: Pair) -> None:
    call = {"endpoint": "other", "rows": ROWS, "content_type": TYPES[0], "accept": TYPES[0]}
    direct = sagemaker.client("invoke", url=sagemaker.url, **call)
    for front in (sagemaker.shadow, sagemaker.enforce):
        front.counted()
        assert sagemaker.client("invoke", url=front.url, **call) == direct
        assert front.counted() == {}


def test_the_containers_own_errors_reach_the_sagemaker_client_as_they_are(sagemaker: Pair) -> None:
    call = {"endpoint": "scores", "rows": [[1, 2, 3], [1, 2]], "content_type": TYPES[1], "accept": TYPES[1]}
    direct = refusal(sagemaker.client, "invoke", url=sagemaker.url, **call)
    for front in (sagemaker.shadow, sagemaker.enforce):
        guarded = refusal(sagemaker.client, "invoke", url=front.url, **call)
        assert (guarded.kind, guarded.sentence) == (direct.kind, direct.sentence)
