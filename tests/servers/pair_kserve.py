"""The KServe SDK's model server with its InferenceRESTClient, V1 and V2."""

from __future__ import annotations

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

RECORD_RULES = """\
guardproxy: 1
model: rows
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.mean < 1000
    action: fallback
    fallback: [{value: {mean: 7.5, lo: 0}}]
  - id: never-seen
    forbid: output.mean == 998
    action: reject
    message: "{output.mean:.0f} was never seen"
"""
BARE_RULES = """\
guardproxy: 1
model: bare
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.prediction < 1000
    action: fallback
    fallback: [{value: 7.5}]
"""
ROUTES = {
    "/v2/models/matrix/infer": {"model": "matrix", "protocol": "open-inference"},
    "/v1/models/rows:predict": {"model": "rows", "protocol": "kserve-v1"},
    "/v1/models/bare:predict": {"model": "bare", "protocol": "kserve-v1"},
}
RECORDS = [{"a": 1.5}, {"a": 4000.0}, {"a": 2}]
BINARY = [pytest.param(False, id="json"), pytest.param(True, id="binary")]


pytestmark = pytest.mark.timeout(300)
"""The first test waits for the servers to come up."""


@dataclass
class Pair:
    """A running server and guardproxy twice before it: with every rule in shadow, and with every rule enforced."""

    url: str
    shadow: Guarded
    enforce: Guarded
    client: Client


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    python = python_of("kserve")
    folder = tmp_path_factory.mktemp("kserve")
    url = f"http://127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        module = "tests.servers.models.kserve_models"
        server = Running([python, "-m", module, "--http_port", url.rpartition(":")[2]], folder)
        stack.enter_context(server)
        client = stack.enter_context(Client(python, "kserve_rest"))
        rules = {"matrix": RULES, "rows": RECORD_RULES, "bare": BARE_RULES}
        both = guards(stack, folder, url, ROUTES, rules)
        server.answers(f"{url}/v2/health/ready")
        yield Pair(url, *both, client)


@pytest.mark.parametrize("binary", BINARY)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_a_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    pair: Pair, rows: list[list[float]], dtype: str, binary: bool
) -> None:
    pair.shadow.counted()
    direct = pair.client("infer", url=pair.url, binary=binary, **matrix(rows, dtype))
    assert len(direct["y"]["values"]) == len(rows)
    assert pair.client("infer", url=pair.shadow.url, binary=binary, **matrix(rows, dtype)) == direct
    assert pair.shadow.counted() == {"allowed": len(rows)}


@pytest.mark.parametrize("binary", BINARY)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_one_row_that_a_rule_replaced_is_the_one_that_the_clients_arrays_show(
    pair: Pair, dtype: str, binary: bool
) -> None:
    pair.enforce.counted()
    direct = pair.client("infer", url=pair.url, binary=binary, **matrix(ABSURD, dtype))
    guarded = pair.client("infer", url=pair.enforce.url, binary=binary, **matrix(ABSURD, dtype))
    assert guarded != direct
    assert guarded == with_row_replaced(direct, ABSURD_ROW, REPLACED)
    assert pair.enforce.counted() == {"allowed": len(ABSURD) - 1, "replaced": 1}


@pytest.mark.parametrize("binary", BINARY)
def test_a_reject_is_the_clients_usual_exception_with_the_rules_sentence(pair: Pair, binary: bool) -> None:
    for rows, sentence in ((NEVER_SEEN, "999 was never seen"), (UNIT_ERROR, "f0 is 200000, above 100000")):
        refused = refusal(pair.client, "infer", url=pair.enforce.url, binary=binary, **matrix(rows))
        assert refused.kind == "HTTPStatusError"
        assert sentence in refused.sentence


@pytest.mark.parametrize(
    "instances", [RECORDS, [[1.0, 2.0], [1000.0, 1.5]], [[1, 2]]], ids=["records", "bare", "one"]
)
def test_a_v1_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    pair: Pair, instances: list[Any]
) -> None:
    pair.shadow.counted()
    model = "rows" if isinstance(instances[0], dict) else "bare"
    direct = pair.client("predict", url=pair.url, model=model, instances=instances)
    assert len(direct["predictions"]) == len(instances)
    assert repr(pair.client("predict", url=pair.shadow.url, model=model, instances=instances)) == repr(direct)
    assert pair.shadow.counted() == {"allowed": len(instances)}


def test_a_v1_client_shows_the_one_record_that_a_rule_replaced(pair: Pair) -> None:
    direct = pair.client("predict", url=pair.url, model="rows", instances=RECORDS)
    guarded = pair.client("predict", url=pair.enforce.url, model="rows", instances=RECORDS)
    first, _, last = direct["predictions"]
    assert guarded == {"predictions": [first, {"mean": 7.5, "lo": 0}, last]}


def test_a_v1_client_shows_the_one_number_that_a_rule_replaced(pair: Pair) -> None:
    instances = [[1.0, 2.0], [1000.0, 1.5], [0.25, 0.5]]
    guarded = pair.client("predict", url=pair.enforce.url, model="bare", instances=instances)
    assert guarded == {"predictions": [3.0, 7.5, 0.75]}


def test_a_rejected_v1_request_is_the_clients_usual_exception(pair: Pair) -> None:
    refused = refusal(
        pair.client, "predict", url=pair.enforce.url, model="rows", instances=[{"a": 1}, {"a": 499}]
    )
    assert refused.kind == "HTTPStatusError"
    assert "998 was never seen" in refused.sentence


def test_what_is_no_prediction_reaches_the_client_as_the_server_says_it(pair: Pair) -> None:
    for model, there in (("matrix", True), ("absent", False)):
        direct = pair.client("tell", url=pair.url, model=model)
        assert direct == {"live": True, "ready": True, "model_ready": there}
        for front in (pair.shadow, pair.enforce):
            assert pair.client("tell", url=front.url, model=model) == direct


def test_the_servers_own_errors_reach_the_client_as_they_are(pair: Pair) -> None:
    absent = {**matrix(ORDINARY), "model": "absent", "binary": False}
    wrong = {"model": "rows", "instances": [{"b": 1}]}
    for call, arguments in (("infer", absent), ("predict", wrong)):
        direct = refusal(pair.client, call, url=pair.url, **arguments)
        for front in (pair.shadow, pair.enforce):
            guarded = refusal(pair.client, call, url=front.url, **arguments)
            assert guarded.kind == direct.kind
            assert guarded.sentence.replace(front.url, pair.url) == direct.sentence
