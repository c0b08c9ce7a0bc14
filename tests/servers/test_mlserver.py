"""MLServer with tritonclient and with its own codec of data frames: the light pair, which runs with every other test."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.open_inference import (
    ABSURD,
    ABSURD_ROW,
    NEVER_SEEN,
    ORDINARY,
    REPLACED,
    ROWS,
    RULES,
    UNIT_ERROR,
    matrix,
    refusal,
    with_row_replaced,
)
from tests.servers.processes import Client, Guarded, Running, free_port, guards, python_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAME_RULES = """\
guardproxy: 1
model: frame
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.y < 1000
    on_unknown: ignore
    action: fallback
    fallback: [{value: {y: 7.5, label: other}}]
  - id: unknown-kind
    one_of: {field: features.kind, values: [plain, fancy]}
    action: reject
    message: "{features.kind} is no kind"
"""
ROUTES = {
    f"/v2/models/{name}/infer": {"model": name, "protocol": "open-inference"} for name in ("matrix", "frame")
}
JSON_ONLY = {"binary_in": False, "binary_out": False}
"""MLServer has no binary tensors over HTTP."""
JSON_TYPE = {"headers": {"Content-Type": "application/json"}}
"""Without it the client of asyncio sends `application/octet-stream`, which MLServer refuses."""
TRANSPORTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "request gzip": {"compression": "gzip"},
    "both gzip": {"compression": "gzip", "compressed_answer": "gzip"},
    "asyncio": {"loop": True, **JSON_TYPE},
    "asyncio, both gzip": {"loop": True, **JSON_TYPE, "compression": "gzip", "compressed_answer": "gzip"},
}
GRPC = [
    pytest.param(
        {"loop": loop, "compression": coding}, id=f"{'asyncio' if loop else 'plain'} {coding or ''}".strip()
    )
    for loop, coding in ((False, None), (False, "gzip"), (True, None))
]
LONG = [[float(row), 0.5, 0.25] for row in range(200)]
"""An answer long enough for the server to compress it."""


@dataclass
class Pair:
    """A running server and guardproxy twice before it: with every rule in shadow, and with every rule enforced."""

    url: str
    grpc: str
    shadow: Guarded
    enforce: Guarded
    client: Client
    grpc_client: Client
    pandas: Client

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")


def start_server(stack: ExitStack, python: str, folder: Path) -> tuple[Running, int, int]:
    http, grpc = free_port(), free_port()
    settings = {
        "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": free_port(),
        "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps(settings))
    for name in ("matrix", "frame"):
        (folder / name).mkdir()
        runtime = f"tests.servers.models.mlserver_runtime.{name.title()}"
        model = {"name": name, "implementation": runtime, "parameters": {"version": "v1"}}
        (folder / name / "model-settings.json").write_text(json.dumps(model))
    server = stack.enter_context(Running([f"{python.removesuffix('python')}mlserver", "start", "."], folder))
    return server, http, grpc


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    python = python_of("mlserver", optional=True)
    folder = tmp_path_factory.mktemp("mlserver")
    with ExitStack() as stack:
        server, http, grpc = start_server(stack, python, folder / "server")
        names = ("triton_http", "triton_grpc", "mlserver_pandas")
        clients = [stack.enter_context(Client(python, name)) for name in names]
        rules = {"matrix": RULES, "frame": FRAME_RULES}
        both = guards(stack, folder, f"http://127.0.0.1:{http}", ROUTES, rules, f"127.0.0.1:{grpc}")
        server.answers(f"http://127.0.0.1:{http}/v2/health/ready")
        yield Pair(f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}", *both, *clients)


@pytest.mark.parametrize("transport", TRANSPORTS.values(), ids=TRANSPORTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rows", [*ROWS.values(), LONG], ids=[*ROWS, "long"])
def test_a_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    pair: Pair, rows: list[list[float]], dtype: str, transport: dict[str, Any]
) -> None:
    pair.shadow.counted()
    call = {**matrix(rows, dtype), **JSON_ONLY, **transport}
    direct = pair.client("infer", address=pair.address, **call)
    assert direct["y"]["dtype"] == dtype
    assert len(direct["y"]["values"]) == len(rows)
    assert pair.client("infer", address=pair.shadow.address, **call) == direct
    assert pair.shadow.counted() == {"allowed": len(rows)}


@pytest.mark.parametrize("transport", TRANSPORTS.values(), ids=TRANSPORTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_one_row_that_a_rule_replaced_is_the_one_that_the_clients_arrays_show(
    pair: Pair, dtype: str, transport: dict[str, Any]
) -> None:
    for rows, absurd in ((ABSURD, ABSURD_ROW), ([*LONG, [900.0, 900.0, 900.0]], len(LONG))):
        pair.enforce.counted()
        call = {**matrix(rows, dtype), **JSON_ONLY, **transport}
        direct = pair.client("infer", address=pair.address, **call)
        guarded = pair.client("infer", address=pair.enforce.address, **call)
        assert guarded == with_row_replaced(direct, absurd, REPLACED)
        assert guarded != direct
        assert pair.enforce.counted() == {"allowed": len(rows) - 1, "replaced": 1}


@pytest.mark.parametrize("transport", TRANSPORTS.values(), ids=TRANSPORTS)
def test_a_reject_is_the_clients_usual_exception_with_the_rules_sentence(
    pair: Pair, transport: dict[str, Any]
) -> None:
    for rows, sentence in ((NEVER_SEEN, "999 was never seen"), (UNIT_ERROR, "f0 is 200000, above 100000")):
        refused = refusal(
            pair.client, "infer", address=pair.enforce.address, **matrix(rows), **JSON_ONLY, **transport
        )
        assert refused.kind == "InferenceServerException"
        assert sentence in refused.sentence


def test_what_is_no_prediction_reaches_the_client_as_the_server_says_it(pair: Pair) -> None:
    direct = pair.client("tell", address=pair.address, model="matrix")
    assert direct["model_ready"] is True
    assert direct["server"]["name"] == "mlserver"
    for front in (pair.shadow, pair.enforce):
        assert pair.client("tell", address=front.address, model="matrix") == direct


def test_the_servers_own_errors_reach_the_client_as_they_are(pair: Pair) -> None:
    absent = {**matrix(ORDINARY), "model": "absent"}
    calls = (("metadata", {"model": "absent"}), ("infer", absent | JSON_ONLY), ("index", {}))
    for call, arguments in calls:
        direct = refusal(pair.client, call, address=pair.address, **arguments)
        for front in (pair.shadow, pair.enforce):
            guarded = refusal(pair.client, call, address=front.address, **arguments)
            assert (guarded.kind, guarded.sentence) == (direct.kind, direct.sentence)


def test_a_data_frame_comes_back_the_same_with_missing_cells_and_all(pair: Pair) -> None:
    columns = {"a": [1.5, None, 4000.0], "kind": ["plain", "fancy", "é€"]}
    pair.shadow.counted()
    direct = pair.pandas("infer", url=pair.url, model="frame", columns=columns)
    assert direct["label"] == columns["kind"]
    guarded = pair.pandas("infer", url=pair.shadow.url, model="frame", columns=columns)
    assert repr(guarded) == repr(direct)
    # A prediction that is missing is a warning even without a rule.
    assert pair.shadow.counted() == {"allowed": 2, "warned": 1}


def test_a_data_frame_shows_the_one_row_that_a_rule_replaced(pair: Pair) -> None:
    columns = {"a": [1.5, None, 4000.0], "kind": ["plain", "fancy", "plain"]}
    direct = pair.pandas("infer", url=pair.url, model="frame", columns=columns)
    guarded = pair.pandas("infer", url=pair.enforce.url, model="frame", columns=columns)
    assert guarded["label"] == [*direct["label"][:2], "other"]
    assert repr(guarded["y"]) == repr([*direct["y"][:2], 7.5])


def test_a_rejected_data_frame_is_an_error_with_the_rules_sentence(pair: Pair) -> None:
    columns = {"a": [1.5, 2.0], "kind": ["plain", "odd"]}
    refused = refusal(pair.pandas, "infer", url=pair.enforce.url, model="frame", columns=columns)
    assert refused.sentence.startswith("422 ")
    assert "odd is no kind" in refused.sentence


@pytest.mark.parametrize("variant", GRPC)
def test_a_grpc_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    pair: Pair, variant: dict[str, Any]
) -> None:
    for rows in (*ROWS.values(), LONG):
        direct = pair.grpc_client("infer", address=pair.grpc, **matrix(rows), **variant)
        assert len(direct["y"]["values"]) == len(rows)
        pair.shadow.counted()
        assert pair.grpc_client("infer", address=pair.shadow.grpc, **matrix(rows), **variant) == direct
        assert pair.shadow.counted() == {"allowed": len(rows)}


@pytest.mark.parametrize("variant", GRPC)
def test_a_grpc_client_shows_the_one_row_that_a_rule_replaced(pair: Pair, variant: dict[str, Any]) -> None:
    direct = pair.grpc_client("infer", address=pair.grpc, **matrix(ABSURD), **variant)
    pair.enforce.counted()
    guarded = pair.grpc_client("infer", address=pair.enforce.grpc, **matrix(ABSURD), **variant)
    assert guarded == with_row_replaced(direct, ABSURD_ROW, REPLACED)
    assert guarded != direct
    assert pair.enforce.counted() == {"allowed": 2, "replaced": 1}


@pytest.mark.parametrize("variant", GRPC)
def test_a_grpc_reject_is_the_clients_usual_exception_with_the_rules_sentence(
    pair: Pair, variant: dict[str, Any]
) -> None:
    for rows, sentence in ((NEVER_SEEN, "999 was never seen"), (UNIT_ERROR, "f0 is 200000, above 100000")):
        refused = refusal(pair.grpc_client, "infer", address=pair.enforce.grpc, **matrix(rows), **variant)
        assert refused.kind == "InferenceServerException"
        assert sentence in refused.sentence


def test_what_is_no_grpc_prediction_passes_as_it_is(pair: Pair) -> None:
    direct = pair.grpc_client("tell", address=pair.grpc, model="matrix")
    absent = refusal(pair.grpc_client, "metadata", address=pair.grpc, model="absent")
    for front in (pair.shadow, pair.enforce):
        assert pair.grpc_client("tell", address=front.grpc, model="matrix") == direct
        guarded = refusal(pair.grpc_client, "metadata", address=front.grpc, model="absent")
        assert (guarded.kind, guarded.sentence) == (absent.kind, absent.sentence)


def test_a_data_frame_over_grpc_in_typed_contents_is_judged_and_replaced(pair: Pair) -> None:
    columns = {"a": [1.5, 4000.0, 2.25], "kind": ["plain", "fancy", "plain"]}
    direct = pair.pandas("infer_grpc", address=pair.grpc, model="frame", columns=columns)
    assert direct == {"y": [3.0, 8000.0, 4.5], "label": columns["kind"]}
    pair.shadow.counted()
    assert pair.pandas("infer_grpc", address=pair.shadow.grpc, model="frame", columns=columns) == direct
    assert pair.shadow.counted() == {"allowed": 3}
    guarded = pair.pandas("infer_grpc", address=pair.enforce.grpc, model="frame", columns=columns)
    assert guarded == {"y": [3.0, 7.5, 4.5], "label": ["plain", "other", "plain"]}


def test_a_rejected_data_frame_over_grpc_is_an_error_with_the_rules_sentence(pair: Pair) -> None:
    columns = {"a": [1.5, 2.0], "kind": ["plain", "odd"]}
    refused = refusal(pair.pandas, "infer_grpc", address=pair.enforce.grpc, model="frame", columns=columns)
    assert "odd is no kind" in refused.sentence
