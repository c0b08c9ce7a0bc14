"""MLflow's scoring server with its ScoringServerClient: every layout of input and output."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.run import ROOT, child_environment
from tests.servers.open_inference import refusal
from tests.servers.processes import START_S, Client, Guarded, Running, free_port, guards, python_of

if TYPE_CHECKING:
    from collections.abc import Iterator

BARE = ("ndarray", "list", "float32")
SHAPES_RULES = f"""\
guardproxy: 1
model: shapes
owner: reviewer-a
defaults: {{mode: MODE, on_unknown: ignore}}
rules:
  - id: bare-too-much
    when: (features.out ?? "ndarray") in {list(BARE)}
    require: output.prediction < 1000
    action: fallback
    fallback: [{{value: 7.5}}]
  - id: bare-missing
    when: (features.out ?? "ndarray") in {list(BARE)}
    forbid: output.prediction is missing
    action: fallback
    fallback: [{{value: 7.5}}]
  - id: integer-too-much
    when: features.out == "integers"
    require: output.prediction < {2**60 + 1000}
    action: fallback
    fallback: [{{value: {2**60 + 7}}}]
  - id: series-too-much
    when: features.out == "series"
    require: output.mean < 1000
    action: fallback
    fallback: [{{value: 7.5}}]
  - id: unnamed-too-much
    when: features.out == "unnamed"
    require: output["0"] < 1000
    action: fallback
    fallback: [{{value: 7.5}}]
  - id: frame-too-much
    when: features.out == "frame"
    require: output.mean < 1000
    action: fallback
    fallback: [{{value: {{mean: 7.5, lo: 0.5, label: other}}}}]
  - id: dict-too-much
    when: features.out == "dict"
    require: output.mean < 1000
    action: fallback
    fallback: [{{value: {{mean: 7.5, lo: 0.5}}}}]
  - id: unit-error
    forbid: features.b == 4242
    action: reject
    message: "b is {{features.b:.0f}}, which no meter shows"
  - id: never-seen
    forbid: output.prediction == 999
    action: reject
    message: "{{output.prediction:.0f}} was never seen"
""".replace("'", '"')
PROBA_RULES = """\
guardproxy: 1
model: proba
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: outside
    require: features.a <= 1
    action: fallback
    fallback: [{value: [0.5, 0.25, 0.25]}]
"""
RULES = {"shapes": SHAPES_RULES, "proba": PROBA_RULES}
LAYOUTS = (*BARE, "integers", "series", "unnamed", "frame", "dict")
ROW: dict[str, Any] = {
    **dict.fromkeys(BARE, 7.5),
    "integers": 2**60 + 7,
    "series": {"mean": 7.5},
    "unnamed": {"0": 7.5},
    "frame": {"mean": 7.5, "lo": 0.5, "label": "other"},
}
"""What stands in place of row 1."""


pytestmark = pytest.mark.timeout(300)
"""The first test waits for the servers to come up."""


@dataclass
class Pair:
    """A running server and guardproxy twice before it: with every rule in shadow, and with every rule enforced."""

    address: str
    shadow: Guarded
    enforce: Guarded
    client: Client


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pair]]:
    python = python_of("mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    subprocess.run(
        [python, "-m", "tests.servers.models.mlflow_models", str(folder)],
        cwd=ROOT, env=child_environment(), check=True, timeout=START_S, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # `mlflow models serve` starts its server by name.
    found = {"PATH": f"{Path(python).parent}:/usr/bin:/bin"}
    with ExitStack() as stack:
        client = stack.enter_context(Client(python, "mlflow_scoring"))
        servers = {}
        for model in ("shapes", "proba"):
            address = f"127.0.0.1:{free_port()}"
            command = [
                python, "-m", "mlflow", "models", "serve", "-m", str(folder / model), "--env-manager", "local",
                "-h", "127.0.0.1", "-p", address.partition(":")[2],
            ]  # fmt: skip
            servers[model] = address, stack.enter_context(Running(command, folder, found))
        started = {}
        for model, (address, _) in servers.items():
            route = {"/invocations": {"model": model, "protocol": "mlflow"}}
            both = guards(
                stack, folder / f"{model}-guards", f"http://{address}", route, {model: RULES[model]}
            )
            started[model] = Pair(address, *both, client)
        for address, server in servers.values():
            server.answers(f"http://{address}/ping")
        yield started


@pytest.fixture
def pair(pairs: dict[str, Pair]) -> Pair:
    return pairs["shapes"]


def columns(layout: str, a: list[Any]) -> dict[str, list[Any]]:
    return {"a": a, "b": [0.5 * n for n in range(len(a))], "out": [layout] * len(a)}


def records(layout: str, a: list[Any]) -> list[dict[str, Any]]:
    given = columns(layout, a)
    return [{name: given[name][row] for name in given} for row in range(len(a))]


def forms(layout: str, a: list[Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the calls of the client that send the same rows: a data frame, records, columns and CSV."""
    return {
        "dataframe_split": ("invoke", {"form": "frame", "data": columns(layout, a)}),
        "dataframe_records": ("invoke", {"form": "text", "data": {"dataframe_records": records(layout, a)}}),
        "instances": ("invoke", {"form": "text", "data": {"instances": records(layout, a)}}),
        "inputs": ("invoke", {"form": "text", "data": {"inputs": columns(layout, a)}}),
        "inputs, records": ("invoke", {"form": "records", "data": records(layout, a)}),
        "csv": ("csv", {"columns": columns(layout, a)}),
    }


FORMS = tuple(forms("ndarray", [1.5]))
ABSURD = [1.5, 4000.25, 2.25]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    pair: Pair, layout: str, form: str
) -> None:
    pair.shadow.counted()
    for a in (ABSURD, [998.5], [1.5, 2.5]):
        call, arguments = forms(layout, a)[form]
        direct = pair.client(call, address=pair.address, **arguments)
        guarded = pair.client(call, address=pair.shadow.address, **arguments)
        assert repr(guarded) == repr(direct)
        assert pair.shadow.counted() == {"allowed": len(a)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_one_row_that_a_rule_replaced_is_the_one_that_the_clients_object_shows(
    pair: Pair, layout: str, form: str
) -> None:
    pair.enforce.counted()
    call, arguments = forms(layout, ABSURD)[form]
    expected = pair.client(call, address=pair.address, **arguments)["predictions"]
    if layout == "dict":
        expected["mean"][1], expected["lo"][1] = 7.5, 0.5
    else:
        expected[1] = ROW[layout]
    guarded = pair.client(call, address=pair.enforce.address, **arguments)
    assert guarded["predictions"] == expected
    if layout in {"series", "unnamed", "frame", "dict"}:
        assert guarded["frame"]["0" if layout == "unnamed" else "mean"][1] == 7.5
    else:
        assert guarded["array"]["values"] == expected
        assert guarded["array"]["dtype"] == ("int64" if layout == "integers" else "float64")
    assert pair.enforce.counted() == {"allowed": 2, "replaced": 1}


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_cell_and_the_prediction_that_is_missing_for_it_pass_as_they_are(
    pair: Pair, form: str
) -> None:
    call, arguments = forms("ndarray", [1.5, float("nan"), 2.25])[form]
    direct = pair.client(call, address=pair.address, **arguments)
    assert repr(direct["predictions"]) == "[1.5, nan, 3.25]"
    pair.shadow.counted()
    assert repr(pair.client(call, address=pair.shadow.address, **arguments)) == repr(direct)
    assert pair.shadow.counted() == {"allowed": 2, "warned": 1}
    guarded = pair.client(call, address=pair.enforce.address, **arguments)
    assert guarded["predictions"] == [1.5, 7.5, 3.25]


def test_a_bare_matrix_is_judged_too(pair: Pair) -> None:
    matrix = {"form": "matrix", "data": [[1.0, 2.0], [3000.0, 4.0], [5.0, 6.5]]}
    direct = pair.client("invoke", address=pair.address, **matrix)
    assert direct["predictions"] == [3.0, 3004.0, 11.5]
    pair.shadow.counted()
    assert pair.client("invoke", address=pair.shadow.address, **matrix) == direct
    assert pair.shadow.counted() == {"allowed": 3}
    guarded = pair.client("invoke", address=pair.enforce.address, **matrix)
    assert guarded["array"]["values"] == [3.0, 7.5, 11.5]


def test_the_probabilities_of_one_row_are_replaced_as_a_whole(pairs: dict[str, Pair]) -> None:
    pair = pairs["proba"]
    frame = {"form": "frame", "data": {"a": [0.25, 77.0, 0.75], "b": [0.0625, 0.5, 0.5625]}}
    direct = pair.client("invoke", address=pair.address, **frame)
    assert direct["array"]["shape"] == [3, 3]
    pair.shadow.counted()
    assert repr(pair.client("invoke", address=pair.shadow.address, **frame)) == repr(direct)
    assert pair.shadow.counted() == {"allowed": 3}
    first, _, last = direct["predictions"]
    guarded = pair.client("invoke", address=pair.enforce.address, **frame)
    assert guarded["predictions"] == [first, [0.5, 0.25, 0.25], last]


@pytest.mark.parametrize("form", FORMS)
def test_a_reject_is_the_clients_usual_exception_with_the_rules_sentence(pair: Pair, form: str) -> None:
    usual = "RuntimeError" if form == "csv" else "Exception"
    call, arguments = forms("ndarray", [1.5, 998.5])[form]
    refused = refusal(pair.client, call, address=pair.enforce.address, **arguments)
    assert refused.kind == usual
    assert "999 was never seen" in refused.sentence
    assert "error_code" in refused.sentence


def test_a_reject_of_the_request_is_the_clients_usual_exception_too(pair: Pair) -> None:
    frame = {"form": "frame", "data": {"a": [1.0, 2.0], "b": [1.0, 4242.0], "out": ["ndarray", "ndarray"]}}
    refused = refusal(pair.client, "invoke", address=pair.enforce.address, **frame)
    assert refused.kind == "Exception"
    assert "b is 4242, which no meter shows" in refused.sentence


def test_what_is_no_prediction_reaches_the_client_as_the_server_says_it(pair: Pair) -> None:
    direct = pair.client("tell", address=pair.address)
    assert direct["version"].startswith("3.")
    for front in (pair.shadow, pair.enforce):
        assert pair.client("tell", address=front.address) == direct


def test_the_servers_own_errors_reach_the_client_as_they_are(pair: Pair) -> None:
    for data in ({"unknown": [[1]]}, {"inputs": {"c": [1]}}):
        call = {"form": "text", "data": data}
        direct = refusal(pair.client, "invoke", address=pair.address, **call)
        for front in (pair.shadow, pair.enforce):
            guarded = refusal(pair.client, "invoke", address=front.address, **call)
            assert (guarded.kind, guarded.sentence) == (direct.kind, direct.sentence)
