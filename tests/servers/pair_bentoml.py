"""BentoML with its own two clients, and FastAPI and LitServe with httpx and requests: named arguments in, bare values out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.servers.open_inference import refusal
from tests.servers.pair import Pair, running_pair

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
    require: output.mean < 1000
    action: fallback
    fallback: [{value: {mean: 7.5, lo: 0.5, label: other}}]
  - id: never-seen
    forbid: output.mean == 999
    on_unknown: ignore
    action: reject
    message: "{output.mean:.0f} was never seen"
  - id: unit-error
    forbid: features.b == 4242
    action: reject
    message: "b is {features.b:.0f}, which no meter shows"
"""
PAIRS_RULES = """\
guardproxy: 1
model: pairs
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.mean < 1000
    action: fallback
    fallback: [{value: {mean: 7.5, lo: 0.5}}]
  - id: unit-error
    forbid: features.b == 4242
    action: reject
    message: "b is {features.b:.0f}, which no meter shows"
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
  - id: never-seen
    forbid: output.prediction == 999
    on_unknown: ignore
    action: reject
    message: "{output.prediction:.0f} was never seen"
"""
SHARES_RULES = """\
guardproxy: 1
model: shares
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: outside
    require: features.f0 < 1000
    action: fallback
    fallback: [{value: [0.5, 0.25, 0.25]}]
"""
ROWS_RULES = """\
guardproxy: 1
model: rows
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.mean < 1000
    action: fallback
    fallback: [{value: {mean: 7.5, lo: 0.5, model: mean}}]
  - id: no-such-region
    forbid: features.region == "atlantis"
    on_unknown: ignore
    action: reject
    message: "there are no meters in {features.region}"
"""
SQUARES_RULES = """\
guardproxy: 1
model: squares
owner: reviewer-a
defaults: {mode: MODE}
rules:
  - id: too-much
    require: output.square < 1000
    action: fallback
    fallback: [{value: 7}]
  - id: unit-error
    forbid: features.input == 4242
    action: reject
    message: "{features.input:.0f} is no length"
"""
ABSURD = [1.5, 4000.25, 2.25]
B = [0.0, 0.5, 1.0]
RECORDS = [{"a": a, "b": b} for a, b in zip(ABSURD, B, strict=True)]
MATRIX = [[1.5, 0.0, 0.5], [4000.25, 0.5, 0.25], [2.25, 1.0, 0.75]]
REPLACED = {"mean": 7.5, "lo": 0.5, "label": "other"}


class Case(NamedTuple):
    """What a client asks of an endpoint, how many rows that is, and which row of the answer is replaced by what."""

    endpoint: str
    arguments: dict[str, Any]
    rows: int = 3
    row: int = 1
    value: Any = 7.5


CASES = {
    "data frame": Case("predict", {"df": RECORDS}, value=REPLACED),
    "data frame and a number": Case("predict", {"df": RECORDS, "scale": 0.5}, value=REPLACED),
    "data frame of one row": Case("predict", {"df": RECORDS[1:2]}, 1, 0, REPLACED),
    "bare list": Case("listed", {"df": RECORDS}),
    "columns": Case("columns", {"a": ABSURD, "b": B}, value={"mean": 7.5, "lo": 0.5}),
    "array": Case("array", {"x": MATRIX}),
    "array of one row": Case("array", {"x": MATRIX[1:2]}, 1, 0),
    "vectors": Case("shares", {"x": MATRIX}, value=[0.5, 0.25, 0.25]),
    "plain values": Case("scalars", {"a": 4000.25, "b": 0.5}, 1, 0),
    "plain values and text": Case("scalars", {"a": 4000.25, "b": 0.5, "kind": "old"}, 1, 0),
    "one record": Case("record", {"a": 4000.25, "b": 0.5}, 1, 0, {"mean": 7.5, "lo": 0.5}),
}
MODELS = {"predict": "frame", "columns": "pairs", "record": "pairs", "shares": "shares"}
ENDPOINTS = ("predict", "listed", "columns", "array", "shares", "scalars", "record", "sizes")
LOOP = [pytest.param(False, id="threads"), pytest.param(True, id="asyncio")]
LIBRARIES = ("httpx", "asyncio", "requests")

pytestmark = pytest.mark.timeout(300)
"""The first test waits for the servers to come up."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("bentoml")
    models = {endpoint: MODELS.get(endpoint, "bare") for endpoint in ENDPOINTS}
    service = "tests.servers.models.bentoml_service:Meters"
    with running_pair(
        "bentoml",
        folder,
        server=["bentoml", "serve", service, "--host", "127.0.0.1", "--port", "PORT"],
        ready="/readyz",
        client="bentoml_http",
        routes={f"/{name}": {"model": model, "protocol": "bentoml"} for name, model in models.items()},
        rules={"frame": FRAME_RULES, "pairs": PAIRS_RULES, "bare": BARE_RULES, "shares": SHARES_RULES},
        variables={"BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"},
    ) as started:
        yield started


@pytest.fixture(scope="module")
def fastapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    application = "tests.servers.models.fastapi_app:app"
    with running_pair(
        "bentoml",
        tmp_path_factory.mktemp("fastapi"),
        server=["uvicorn", application, "--host", "127.0.0.1", "--port", "PORT"],
        ready="/health",
        client="plain_http",
        # The commonest path tells its protocol by itself.
        routes={"/predict": {"model": "rows"}, "/one": {"model": "pairs", "protocol": "bentoml"}},
        rules={"rows": ROWS_RULES, "pairs": PAIRS_RULES},
    ) as started:
        yield started


@pytest.fixture(scope="module")
def litserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(
        "bentoml",
        tmp_path_factory.mktemp("litserve"),
        server=["tests.servers.models.litserve_app", "PORT"],
        ready="/health",
        client="plain_http",
        # A number under `output` keeps that name, a list there has none: the route gives both one.
        routes={"/predict": {"model": "squares", "features": ["input"], "outputs": ["square"]}},
        rules={"squares": SQUARES_RULES},
    ) as started:
        yield started


def with_row_replaced(held: dict[str, Any], row: int, value: Any) -> dict[str, Any]:
    """Return what a client's object holds once one row has another value."""
    kind, inner = next(iter(held.items()))
    if kind == "frame":
        return {kind: {name: [*cells[:row], value[name], *cells[row + 1 :]] for name, cells in inner.items()}}
    if kind == "array":
        shape = inner["shape"]
        width = 1 if len(shape) == 1 else shape[1]
        news = value if isinstance(value, list) else [value]
        return {kind: {**inner, "values": _spliced(inner["values"], row * width, news)}}
    if isinstance(inner, dict):
        listed = isinstance(next(iter(inner.values())), list)
        return {
            kind: {n: _spliced(each, row, [value[n]]) if listed else value[n] for n, each in inner.items()}
        }
    return {kind: _spliced(inner, row, [value]) if isinstance(inner, list) else value}


def _spliced(values: list[Any], start: int, news: list[Any]) -> list[Any]:
    return [*values[:start], *news, *values[start + len(news) :]]


@pytest.mark.parametrize("loop", LOOP)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_client_of_a_guard_in_shadow_holds_what_it_holds_without_one(
    pair: Pair, case: Case, loop: bool
) -> None:
    pair.shadow.counted()
    call = {"endpoint": case.endpoint, "arguments": case.arguments, "loop": loop}
    direct = pair.client("predict", url=pair.url, **call)
    assert repr(pair.client("predict", url=pair.shadow.url, **call)) == repr(direct)
    assert pair.shadow.counted() == {"allowed": case.rows}


@pytest.mark.parametrize("loop", LOOP)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_one_row_that_a_rule_replaced_is_the_one_that_the_clients_object_shows(
    pair: Pair, case: Case, loop: bool
) -> None:
    pair.enforce.counted()
    call = {"endpoint": case.endpoint, "arguments": case.arguments, "loop": loop}
    direct = pair.client("predict", url=pair.url, **call)
    guarded = pair.client("predict", url=pair.enforce.url, **call)
    assert guarded != direct
    assert repr(guarded) == repr(with_row_replaced(direct, case.row, case.value))
    allowed = {"allowed": case.rows - 1} if case.rows > 1 else {}
    assert pair.enforce.counted() == {**allowed, "replaced": 1}


@pytest.mark.parametrize("endpoint", ["predict", "listed"])
def test_a_missing_cell_and_the_prediction_that_is_missing_for_it_pass_as_they_are(
    pair: Pair, endpoint: str
) -> None:
    records = [{"a": 1.5, "b": 2.0}, {"a": float("nan"), "b": 2.0}]
    call = {"endpoint": endpoint, "arguments": {"df": records}}
    direct = pair.client("predict", url=pair.url, **call)
    assert "nan" in repr(direct)
    pair.shadow.counted()
    assert repr(pair.client("predict", url=pair.shadow.url, **call)) == repr(direct)
    assert pair.shadow.counted() == {"allowed": 1, "warned": 1}
    guarded = pair.client("predict", url=pair.enforce.url, **call)
    value = REPLACED if endpoint == "predict" else 7.5
    assert repr(guarded) == repr(with_row_replaced(direct, 1, value))


@pytest.mark.parametrize("loop", LOOP)
@pytest.mark.parametrize(
    ("endpoint", "records", "sentence"),
    [
        ("predict", [{"a": 1, "b": 2}, {"a": 500, "b": 499}], "999 was never seen"),
        ("listed", [{"a": 1, "b": 2}, {"a": 500, "b": 499}], "999 was never seen"),
        ("predict", [{"a": 1, "b": 4242}], "b is 4242, which no meter shows"),
    ],
)
def test_a_reject_is_the_clients_usual_exception_with_the_rules_sentence(
    pair: Pair, endpoint: str, records: list[Any], sentence: str, loop: bool
) -> None:
    call = {"endpoint": endpoint, "arguments": {"df": records}, "loop": loop}
    pair.enforce.counted()
    refused = refusal(pair.client, "predict", url=pair.enforce.url, **call)
    assert refused.kind == "UnprocessableEntity"
    assert sentence in refused.sentence
    assert pair.enforce.counted().get("rejected")


@pytest.mark.parametrize("loop", LOOP)
def test_the_answer_about_a_file_is_judged_although_the_file_is_not(
    pair: Pair, tmp_path: Path, loop: bool
) -> None:
    file = tmp_path / "picture.bin"
    file.write_bytes(bytes(range(100)))
    call = {"endpoint": "sizes", "arguments": {"file": str(file), "times": [0.5, 20.25, 2.0]}, "loop": loop}
    direct = pair.client("predict", url=pair.url, **call)
    assert direct == {"value": [50.0, 2025.0, 200.0]}
    pair.shadow.counted()
    pair.enforce.counted()
    assert pair.client("predict", url=pair.shadow.url, **call) == direct
    assert pair.shadow.counted() == {"unguarded": 3, "opaque": 1}
    assert pair.client("predict", url=pair.enforce.url, **call) == {"value": [50.0, 7.5, 200.0]}
    assert pair.enforce.counted() == {"unguarded": 2, "replaced": 1, "opaque": 1}


@pytest.mark.parametrize("loop", LOOP)
def test_one_of_two_thousand_rows_of_a_data_frame_is_replaced_and_only_it(pair: Pair, loop: bool) -> None:
    records = [{"a": n * 0.25, "b": 0.1} for n in range(2_000)]
    records[1_234]["b"] = 5_000.5
    call = {"endpoint": "predict", "arguments": {"df": records}, "loop": loop}
    direct = pair.client("predict", url=pair.url, **call)
    pair.enforce.counted()
    guarded = pair.client("predict", url=pair.enforce.url, **call)
    assert guarded == with_row_replaced(direct, 1_234, REPLACED)
    assert pair.enforce.counted() == {"allowed": 1_999, "replaced": 1}


def test_what_is_no_prediction_reaches_the_client_as_the_server_says_it(pair: Pair) -> None:
    direct = pair.client("tell", url=pair.url)
    assert direct == {"ready": True, "endpoints": sorted(ENDPOINTS)}
    for front in (pair.shadow, pair.enforce):
        assert pair.client("tell", url=front.url) == direct


def test_the_servers_own_errors_reach_the_client_as_they_are(pair: Pair) -> None:
    call = {"endpoint": "scalars", "arguments": {"a": "much", "b": 2}}
    direct = refusal(pair.client, "predict", url=pair.url, **call)
    for front in (pair.shadow, pair.enforce):
        guarded = refusal(pair.client, "predict", url=front.url, **call)
        assert (guarded.kind, guarded.sentence) == (direct.kind, direct.sentence)


# -------------------------------------------------------------------------------- servers that have no client of their own


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_fastapi_answer_is_judged_row_by_row_and_what_stands_beside_the_rows_stays(
    fastapi: Pair, library: str
) -> None:
    call = {"body": {"rows": RECORDS, "region": "south"}, "library": library}
    direct = fastapi.client("post", url=f"{fastapi.url}/predict", **call)
    assert direct["meta"] == {"n": 3, "region": "south"}
    fastapi.shadow.counted()
    fastapi.enforce.counted()
    assert fastapi.client("post", url=f"{fastapi.shadow.url}/predict", **call) == direct
    assert fastapi.shadow.counted() == {"allowed": 3}
    guarded = fastapi.client("post", url=f"{fastapi.enforce.url}/predict", **call)
    first, _, last = direct["predictions"]
    replaced = {"mean": 7.5, "lo": 0.5, "model": "mean"}
    assert guarded == {"predictions": [first, replaced, last], "meta": direct["meta"]}
    assert fastapi.enforce.counted() == {"allowed": 2, "replaced": 1}


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_object_in_and_one_out_is_one_row(fastapi: Pair, library: str) -> None:
    call = {"body": RECORDS[1], "library": library}
    direct = fastapi.client("post", url=f"{fastapi.url}/one", **call)
    fastapi.shadow.counted()
    assert fastapi.client("post", url=f"{fastapi.shadow.url}/one", **call) == direct
    assert fastapi.shadow.counted() == {"allowed": 1}
    assert fastapi.client("post", url=f"{fastapi.enforce.url}/one", **call) == {"mean": 7.5, "lo": 0.5}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_plain_client_reads_the_sentence_of_a_reject(fastapi: Pair, library: str) -> None:
    usual = "HTTPError" if library == "requests" else "HTTPStatusError"
    for path, body, sentence in (
        ("predict", {"rows": RECORDS, "region": "atlantis"}, "there are no meters in atlantis"),
        ("one", {"a": 1, "b": 4242}, "b is 4242, which no meter shows"),
    ):
        url = f"{fastapi.enforce.url}/{path}"
        refused = refusal(fastapi.client, "post", url=url, body=body, library=library)
        assert refused.kind == usual
        assert refused.sentence.startswith("422 ")
        assert sentence in refused.sentence


def test_a_fastapi_applications_pages_and_errors_pass_as_they_are(fastapi: Pair) -> None:
    for page in ("health", "openapi.json", "docs", "absent"):
        direct = fastapi.client("get", url=f"{fastapi.url}/{page}")
        for front in (fastapi.shadow, fastapi.enforce):
            assert fastapi.client("get", url=f"{front.url}/{page}") == direct
    wrong = {"rows": [{"a": "much"}]}
    for library in LIBRARIES:
        direct_error = refusal(
            fastapi.client, "post", url=f"{fastapi.url}/predict", body=wrong, library=library
        )
        assert '"detail"' in direct_error.sentence
        for front in (fastapi.shadow, fastapi.enforce):
            url = f"{front.url}/predict"
            guarded = refusal(fastapi.client, "post", url=url, body=wrong, library=library)
            assert (guarded.kind, guarded.sentence) == (direct_error.kind, direct_error.sentence)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("given", "held", "rows"),
    [(4.0, 16.0, 1), ([1, 2.5], [1, 6.25], 2), (400.5, 7, 1), ([2, 400, 3], [4, 7, 9], 3)],
    ids=["a number", "numbers", "a number to replace", "numbers of which one is replaced"],
)
def test_a_litserve_answer_is_judged(litserve: Pair, given: Any, held: Any, rows: int, library: str) -> None:
    call = {"body": {"input": given}, "library": library}
    direct = litserve.client("post", url=f"{litserve.url}/predict", **call)
    litserve.shadow.counted()
    litserve.enforce.counted()
    assert litserve.client("post", url=f"{litserve.shadow.url}/predict", **call) == direct
    assert litserve.shadow.counted() == {"allowed": rows}
    assert litserve.client("post", url=f"{litserve.enforce.url}/predict", **call) == {"output": held}
    replaced = {"replaced": 1} if direct != {"output": held} else {}
    allowed = {"allowed": rows - len(replaced)} if rows > len(replaced) else {}
    assert litserve.enforce.counted() == {**allowed, **replaced}


def test_a_litserve_reject_names_its_rules_sentence(litserve: Pair) -> None:
    refused = refusal(litserve.client, "post", url=f"{litserve.enforce.url}/predict", body={"input": 4242})
    assert "4242 is no length" in refused.sentence
