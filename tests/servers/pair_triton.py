"""Triton, as pytriton brings it for the CPU, with tritonclient: HTTP and gRPC, threads and asyncio, JSON and binary tensors."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.open_inference import (
    ABSURD,
    ABSURD_ROW,
    NEVER_SEEN,
    ORDINARY,
    REPLACED,
    RULES,
    UNIT_ERROR,
    matrix,
    refusal,
    with_row_replaced,
)
from tests.servers.processes import Client, Guarded, Running, free_port, guards, python_of

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS_RULES = """\
guardproxy: 1
model: columns
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.y < 1000
    action: fallback
    fallback: [{value: {y: 7.5, bounds: [0.5, 8.5]}}]
  - id: unknown-kind
    one_of: {field: features.kind, values: [plain, fancy, "é€"]}
    action: reject
    message: "{features.kind} is no kind"
"""
SINGLE_RULES = """\
guardproxy: 1
model: single
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.y < 1000
    action: fallback
    fallback: [{value: 7.5}]
"""
TEXTS = {
    "matrix": RULES,
    "matrix32": RULES.replace("model: matrix", "model: matrix32"),
    "columns": COLUMNS_RULES,
    "single": SINGLE_RULES,
}
ROUTES = {f"/v2/models/{name}/infer": {"model": name, "protocol": "open-inference"} for name in TEXTS}
ROUTES["/v2/models/single/infer"]["batch_axis"] = "none"
NAN = float("nan")
MISSING = [[1.0, 2.0, 3.0], [0.5, NAN, 0.125], [10.5, 20.25, 30.125]]
BROAD = [[0.1 * row, 0.5, 0.25] for row in range(300)]
CODINGS = (None, "gzip", "deflate")
VARIANTS = [
    pytest.param(
        {"binary_in": into, "binary_out": out, "compression": sent, "compressed_answer": got, "loop": loop},
        id=f"{'aio' if loop else 'http'}-{'binary' if into else 'json'} in-{'binary' if out else 'json'} out"
        f"-{sent or 'plain'} in-{got or 'plain'} out",
    )
    for loop, into, out, sent, got in product((False, True), (True, False), (True, False), CODINGS, CODINGS)
]
"""Every way in which the client can send and ask."""
GRPC = [
    pytest.param({"loop": loop, "compression": coding}, id=f"{'aio' if loop else 'grpc'}-{coding or 'plain'}")
    for loop, coding in product((False, True), CODINGS)
]


pytestmark = pytest.mark.timeout(300)
"""The first test waits for the servers to come up."""


@dataclass
class Pair:
    """A running server and guardproxy twice before it: with every rule in shadow, and with every rule enforced."""

    address: str
    grpc: str
    shadow: Guarded
    enforce: Guarded
    client: Client
    grpc_client: Client


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    python = python_of("triton")
    folder = tmp_path_factory.mktemp("triton")
    http, grpc = free_port(), free_port()
    ports = [str(port) for port in (http, grpc, free_port())]
    with ExitStack() as stack:
        command = [python, "-m", "tests.servers.models.triton_models", *ports]
        server = stack.enter_context(Running(command, folder))
        clients = [stack.enter_context(Client(python, name)) for name in ("triton_http", "triton_grpc")]
        both = guards(stack, folder, f"http://127.0.0.1:{http}", ROUTES, TEXTS, f"127.0.0.1:{grpc}")
        server.answers(f"http://127.0.0.1:{http}/v2/models/single/ready")
        yield Pair(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", *both, *clients)


def both(rows: list[list[float]]) -> Iterator[dict[str, Any]]:
    """Yield the arguments for the model of doubles and for that of floats."""
    yield matrix(rows)
    yield {**matrix(rows, "float32"), "model": "matrix32"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    pair: Pair, variant: dict[str, Any]
) -> None:
    pair.shadow.counted()
    for rows in (ORDINARY, ABSURD, NEVER_SEEN, BROAD):
        for call in both(rows):
            direct = pair.client("infer", address=pair.address, **call, **variant)
            assert len(direct["y"]["values"]) == len(rows)
            assert pair.client("infer", address=pair.shadow.address, **call, **variant) == direct
            assert pair.shadow.counted() == {"allowed": len(rows)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_one_row_that_a_rule_replaced_is_the_one_that_the_clients_arrays_show(
    pair: Pair, variant: dict[str, Any]
) -> None:
    pair.enforce.counted()
    for rows, absurd in ((ABSURD, ABSURD_ROW), ([*BROAD, [900.0, 800.0, 0.5]], len(BROAD))):
        for call in both(rows):
            direct = pair.client("infer", address=pair.address, **call, **variant)
            guarded = pair.client("infer", address=pair.enforce.address, **call, **variant)
            assert guarded != direct
            assert guarded == with_row_replaced(direct, absurd, REPLACED)
            assert pair.enforce.counted() == {"allowed": len(rows) - 1, "replaced": 1}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_reject_is_the_clients_usual_exception_with_the_rules_sentence(
    pair: Pair, variant: dict[str, Any]
) -> None:
    for rows, sentence in ((NEVER_SEEN, "999 was never seen"), (UNIT_ERROR, "f0 is 200000, above 100000")):
        refused = refusal(pair.client, "infer", address=pair.enforce.address, **matrix(rows), **variant)
        assert refused.kind == "InferenceServerException"
        assert sentence in refused.sentence


@pytest.mark.parametrize("out", [True, False], ids=["binary", "json"])
def test_a_prediction_that_is_missing_passes_as_it_is_or_is_replaced(pair: Pair, out: bool) -> None:
    variant = {"binary_in": True, "binary_out": out}
    for call in both(MISSING):
        direct = pair.client("infer", address=pair.address, **call, **variant)
        assert repr(direct["y"]["values"][1]) == "nan"
        pair.shadow.counted()
        assert repr(pair.client("infer", address=pair.shadow.address, **call, **variant)) == repr(direct)
        assert pair.shadow.counted() == {"allowed": 2, "warned": 1}
        guarded = pair.client("infer", address=pair.enforce.address, **call, **variant)
        assert guarded == with_row_replaced(direct, 1, REPLACED)


def columns(a: list[float], kinds: list[str]) -> dict[str, Any]:
    return {
        "model": "columns",
        "inputs": {
            "a": {"values": a, "dtype": "float64", "shape": [len(a), 1]},
            "kind": {"values": kinds, "dtype": "object", "shape": [len(a), 1]},
        },
        "outputs": ["y", "bounds"],
    }


@pytest.mark.parametrize("binary_in", [True, False, ["a"], ["kind"]], ids=str)
@pytest.mark.parametrize("binary_out", [True, False, ["y"], ["bounds"]], ids=str)
def test_one_tensor_per_column_may_be_binary_and_the_next_one_json(
    pair: Pair, binary_in: bool | list[str], binary_out: bool | list[str]
) -> None:
    mixed = {"binary_in": binary_in, "binary_out": binary_out}
    call = columns([1.5, 2000.0, 0.1], ["plain", "fancy", "é€"])
    direct = pair.client("infer", address=pair.address, **call, **mixed)
    pair.shadow.counted()
    assert pair.client("infer", address=pair.shadow.address, **call, **mixed) == direct
    assert pair.shadow.counted() == {"allowed": 3}
    guarded = pair.client("infer", address=pair.enforce.address, **call, **mixed)
    low, high = direct["bounds"]["values"][4:]
    assert guarded["y"]["values"] == [3.0, 7.5, 0.2]
    assert guarded["bounds"]["values"] == [1.5, 4.5, 0.5, 8.5, low, high]
    refused = refusal(
        pair.client, "infer", address=pair.enforce.address, **columns([1.5, 2.0], ["plain", "odd"]), **mixed
    )
    assert refused.kind == "InferenceServerException"
    assert "odd is no kind" in refused.sentence


def test_a_model_without_a_batch_axis_answers_one_row(pair: Pair) -> None:
    for binary in (True, False):
        variant = {"binary_in": binary, "binary_out": binary}
        for values, expected in (([1.0, 2.0, 3.0], 6.0), ([1000.0, 2.0, 3.0], 7.5)):
            x = {"values": values, "dtype": "float64", "shape": [3]}
            call = {"model": "single", "inputs": {"x": x}, "outputs": ["y"], **variant}
            direct = pair.client("infer", address=pair.address, **call)
            pair.shadow.counted()
            assert pair.client("infer", address=pair.shadow.address, **call) == direct
            assert pair.shadow.counted() == {"allowed": 1}
            guarded = pair.client("infer", address=pair.enforce.address, **call)
            assert guarded["y"] == {"dtype": "float64", "shape": [1], "values": [expected]}


def test_classes_in_place_of_numbers_pass_as_they_are(pair: Pair) -> None:
    for out in (True, False):
        call = columns([1.5, 0.1], ["plain", "fancy"]) | {
            "classes": 1,
            "outputs": ["bounds"],
            "binary_out": out,
        }
        direct = pair.client("infer", address=pair.address, **call)
        assert direct["bounds"]["values"][0].startswith("4.5")
        assert pair.client("infer", address=pair.shadow.address, **call) == direct


def test_inputs_in_shared_memory_leave_the_answer_to_be_judged(pair: Pair) -> None:
    direct = pair.client("infer_shared", address=pair.address, **matrix(ABSURD))
    pair.shadow.counted()
    assert pair.client("infer_shared", address=pair.shadow.address, **matrix(ABSURD)) == direct
    assert pair.shadow.counted() == {"unguarded": 3, "opaque": 1}
    pair.enforce.counted()
    guarded = pair.client("infer_shared", address=pair.enforce.address, **matrix(ABSURD))
    assert guarded == with_row_replaced(direct, ABSURD_ROW, REPLACED)
    assert pair.enforce.counted() == {"unguarded": 2, "replaced": 1, "opaque": 1}


def test_what_is_no_prediction_reaches_the_client_as_the_server_says_it(pair: Pair) -> None:
    for call in ("tell", "index"):
        arguments = {"model": "matrix"} if call == "tell" else {}
        direct = pair.client(call, address=pair.address, **arguments)
        for front in (pair.shadow, pair.enforce):
            assert pair.client(call, address=front.address, **arguments) == direct


def test_the_servers_own_errors_reach_the_client_as_they_are(pair: Pair) -> None:
    absent = {**matrix(ORDINARY), "model": "absent"}
    wrong = matrix([[1.0, 2.0]])
    for call, arguments in (("metadata", {"model": "absent"}), ("infer", absent), ("infer", wrong)):
        direct = refusal(pair.client, call, address=pair.address, **arguments)
        for front in (pair.shadow, pair.enforce):
            guarded = refusal(pair.client, call, address=front.address, **arguments)
            assert (guarded.kind, guarded.sentence) == (direct.kind, direct.sentence)


@pytest.mark.parametrize("variant", GRPC)
def test_a_grpc_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    pair: Pair, variant: dict[str, Any]
) -> None:
    for rows in (ORDINARY, ABSURD, BROAD):
        for call in both(rows):
            direct = pair.grpc_client("infer", address=pair.grpc, **call, **variant)
            pair.shadow.counted()
            assert pair.grpc_client("infer", address=pair.shadow.grpc, **call, **variant) == direct
            assert pair.shadow.counted() == {"allowed": len(rows)}


@pytest.mark.parametrize("variant", GRPC)
def test_a_grpc_client_shows_the_one_row_that_a_rule_replaced(pair: Pair, variant: dict[str, Any]) -> None:
    pair.enforce.counted()
    for call in both(ABSURD):
        direct = pair.grpc_client("infer", address=pair.grpc, **call, **variant)
        guarded = pair.grpc_client("infer", address=pair.enforce.grpc, **call, **variant)
        assert guarded != direct
        assert guarded == with_row_replaced(direct, ABSURD_ROW, REPLACED)
        assert pair.enforce.counted() == {"allowed": 2, "replaced": 1}


@pytest.mark.parametrize("variant", GRPC)
def test_a_grpc_reject_is_the_clients_usual_exception_with_the_rules_sentence(
    pair: Pair, variant: dict[str, Any]
) -> None:
    for rows, sentence in ((NEVER_SEEN, "999 was never seen"), (UNIT_ERROR, "f0 is 200000, above 100000")):
        refused = refusal(pair.grpc_client, "infer", address=pair.enforce.grpc, **matrix(rows), **variant)
        assert refused.kind == "InferenceServerException"
        assert sentence in refused.sentence


def test_one_grpc_tensor_per_column_is_judged_and_replaced(pair: Pair) -> None:
    call = columns([1.5, 2000.0, 0.1], ["plain", "fancy", "é€"])
    direct = pair.grpc_client("infer", address=pair.grpc, **call)
    assert pair.grpc_client("infer", address=pair.shadow.grpc, **call) == direct
    guarded = pair.grpc_client("infer", address=pair.enforce.grpc, **call)
    assert guarded["y"]["values"] == [3.0, 7.5, 0.2]
    assert guarded["bounds"]["values"][2:4] == [0.5, 8.5]


def test_what_is_no_grpc_prediction_passes_as_it_is(pair: Pair) -> None:
    direct = pair.grpc_client("tell", address=pair.grpc, model="matrix")
    absent = refusal(pair.grpc_client, "metadata", address=pair.grpc, model="absent")
    wrong = refusal(pair.grpc_client, "infer", address=pair.grpc, **matrix([[1.0, 2.0]]))
    for front in (pair.shadow, pair.enforce):
        assert pair.grpc_client("tell", address=front.grpc, model="matrix") == direct
        guarded = refusal(pair.grpc_client, "metadata", address=front.grpc, model="absent")
        assert (guarded.kind, guarded.sentence) == (absent.kind, absent.sentence)
        guarded = refusal(pair.grpc_client, "infer", address=front.grpc, **matrix([[1.0, 2.0]]))
        assert (guarded.kind, guarded.sentence) == (wrong.kind, wrong.sentence)


def test_a_grpc_stream_of_predictions_passes_as_it_is(pair: Pair) -> None:
    direct = pair.grpc_client("stream", address=pair.grpc, **matrix(ORDINARY))
    assert len(direct) == 1
    assert pair.grpc_client("stream", address=pair.enforce.grpc, **matrix(ORDINARY)) == direct
