"""What a route says about its exchanges: the policy by reason, paths, methods, versions, signatures."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from guardproxy.codecs.signature import Column
from guardproxy.config import parse_config
from guardproxy.decision import Reason
from guardproxy.guard.fits import named_outputs, unfit_fallbacks
from guardproxy.proxy.load import load
from guardproxy.rules import load_rulesets
from guardproxy.service import Service
from tests.harness.client import RawClient, Response
from tests.harness.loop import run
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import PATH, ask, demand, infer, port_of, reasons, request, said, serving
from tests.proxy.test_opaque import SHARED

JSON = b"Content-Type: application/json"

CASES = {
    Reason.UNDECODABLE: (b"{bad", ok(demand([1.0]), JSON)),
    Reason.UNALIGNED: (infer([1.0, 1.0]), ok(demand([1.0, 2.0, 3.0]), JSON)),
    Reason.OPAQUE: (SHARED, ok(demand([1.0]), JSON)),
    Reason.STREAMED: (infer([1.0]), ok(b"data: a\n\n", b"Content-Type: text/event-stream")),
    Reason.OVERSIZE: (infer([1.0] * 300), ok(demand([1.0]), JSON)),
    Reason.FAULT: (infer([1.0]), ok(demand([1.0]), JSON)),
}


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("default", ["open", "closed"])
def test_each_reason_has_a_policy_of_its_own_and_is_counted(
    reason: Reason, default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "closed" if default == "open" else "open"
    body, answer = CASES[reason]

    async def scenario() -> None:
        async with (
            RecorderUpstream(answer) as upstream,
            serving(
                upstream.port, failure={"default": default, reason.value: other}, max_body=2_000
            ) as service,
        ):
            if reason is Reason.FAULT:
                _break_the_judging(service, monkeypatch)
            response = await ask(service, body)
            assert reasons(service) == {reason.value: 1}
            found = await _metrics(service)
        assert f'guardproxy_unguarded_total{{model="demand",reason="{reason.value}"}} 1.0' in found
        assert said(response, b"Reason") == reason.value
        if other == "open":
            assert (response.status, said(response, b"Outcome")) == (200, "unguarded")
        else:
            assert response.status == (413 if reason is Reason.OVERSIZE else 503)
            assert said(response, b"Outcome") is None

    run(scenario())


def test_requests_go_to_another_path_with_their_query_whatever_becomes_of_them() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(b"[-1.5]", JSON)) as upstream,
            serving(
                upstream.port,
                path="/endpoints/{name}/invocations",
                upstream_path="/invocations",
                protocol="sagemaker",
                features=("x",),
                outputs=("demand",),
                max_body=100,
            ) as service,
        ):
            path = "/endpoints/shop%201/invocations"
            guarded = await ask(service, b"1\n", path=path + "?a=%2F&b")
            opaque = await ask(service, b"{bad", path=path)
            large = await ask(service, b"1," * 100, path=path + "?large")
            assert [one.target for one in upstream.requests] == [
                b"/invocations?a=%2F&b", b"/invocations", b"/invocations?large",
            ]  # fmt: skip
            assert [one.body for one in upstream.requests] == [b"1\n", b"{bad", b"1," * 100]
        assert (said(guarded, b"Outcome"), said(opaque, b"Reason"), said(large, b"Reason")) == (
            "replaced",
            "undecodable",
            "oversize",
        )

    run(scenario())


SELDON = "/api/v1.0/predictions"
ASKED = '{"data": {"names": ["x", "store"], "ndarray": [[1.0, "s1"]]}}'
ANSWER = b'{"data": {"names": ["demand"], "ndarray": [[-1.0]]}}\n'


def seldon(port: int):  # type: ignore[no-untyped-def]
    return serving(port, path=SELDON, protocol="seldon")


@pytest.mark.parametrize("spelled", ["json", "%6Ason", "a=1&json", "a;json"])
def test_a_prediction_that_is_asked_for_by_a_query_is_judged(spelled: str) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(ANSWER, JSON)) as upstream, seldon(upstream.port) as service:
            target = f"{SELDON}?{spelled}={quote(ASKED)}"
            response = await _get(service, target)
            assert upstream.requests[0].target == target.encode()
        # A form is read as forms are, and what is none is not guessed at.
        if ";" in spelled:
            assert said(response, b"Reason") == "undecodable"
        else:
            assert response.body == ANSWER.replace(b"-1.0", b"5.0")
            assert said(response, b"Outcome") == "replaced"

    run(scenario())


@pytest.mark.parametrize("query", ["", "?", "?a=1", "?jso=1", "?a=json"])
def test_a_get_that_asks_for_nothing_passes(query: str) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(b"docs")) as upstream, seldon(upstream.port) as service:
            response = await _get(service, SELDON + query)
            assert service.plane.routes[0].passed == 1
        assert (response.status, response.body, said(response, b"Outcome")) == (200, b"docs", None)

    run(scenario())


def test_rows_in_the_query_and_in_the_body_at_once_are_undecodable() -> None:
    async def scenario() -> None:
        async with RecorderUpstream(ok(ANSWER, JSON)) as upstream, seldon(upstream.port) as service:
            response = await ask(service, ASKED.encode(), path=f"{SELDON}?json={quote(ASKED)}")
            plain = await ask(service, ASKED.encode(), path=SELDON)
        assert said(response, b"Reason") == "undecodable"
        assert said(plain, b"Outcome") == "replaced"

    run(scenario())


def test_the_methods_of_a_route_are_those_of_its_protocol_unless_it_says_otherwise() -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            async with seldon(upstream.port) as service:
                assert service.plane.routes[0].methods == {b"POST", b"PUT", b"PATCH", b"GET"}
            async with serving(upstream.port) as service:
                assert service.plane.routes[0].methods == {b"POST", b"PUT", b"PATCH"}
            async with serving(upstream.port, methods=("put",)) as service:
                assert service.plane.routes[0].methods == {b"PUT"}

    run(scenario())


def test_rules_know_the_version_that_a_path_names() -> None:
    rules = """\
guardproxy: 1
model: demand
rules:
  - id: no-beta
    forbid: request.model_version == "beta 2"
    action: reject
"""
    path = "/v2/models/demand/versions/{version}/infer"

    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([1.0]), JSON)) as upstream,
            serving(upstream.port, rules=rules, path=path) as service,
        ):
            good = await ask(service, infer([1.0]), path=path.replace("{version}", "3") + "?x")
            bad = await ask(service, infer([1.0]), path=path.replace("{version}", "beta%202"))
        assert (good.status, bad.status) == (200, 422)

    run(scenario())


# ---------------------------------------------------------------- signatures

METADATA = {
    "name": "demand",
    "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "INT32", "shape": [-1, 1]}],
}


def check(tmp_path: Path, value: str, *, signature: str = json.dumps(METADATA)) -> list[str]:
    (tmp_path / "model.json").write_text(signature)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.guard.yaml").write_text(
        "guardproxy: 1\nmodel: demand\nrules:\n  - id: low\n    require: output.y < features.x\n"
        f"    action: fallback\n    fallback: [previous, {{value: {value}}}]\n"
    )
    text = (
        "upstream: http://127.0.0.1:9\nrules: rules\nroutes:\n"
        f"  - {{path: {PATH}, model: demand, on_failure: open, signature: model.json}}\n"
    )
    config, problems = parse_config(text, "guardproxy.yaml", tmp_path, {})
    assert not problems
    return [f"{p.code} {Path(p.file).name}:{p.line} {p.message}" for p in load(config).errors]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("3.5", "3.5 can never be written into the output 'y', which is INT32: only a whole number"),
        ("1099511627776", "lies outside"),
        ("none of it", "only a finite number"),
        ("true", "only a finite number"),
        ("[1, 2]", "it has 1 values in each row"),
        ("{y: 3.5}", "only a whole number"),
    ],
)
def test_a_literal_that_the_outputs_type_can_never_hold_is_told_at_load(
    tmp_path: Path, value: str, why: str
) -> None:
    (problem,) = check(tmp_path, value)
    assert problem.startswith("E309 a.guard.yaml:4 the fallback of rule 'low' cannot be served: ")
    assert why in problem


@pytest.mark.parametrize("value", ["3", "3.0", "-2147483648", "{y: 3}"])
def test_a_literal_of_the_outputs_type_is_fine(tmp_path: Path, value: str) -> None:
    assert [p for p in check(tmp_path, value) if p.startswith("E309")] == []


def test_a_model_of_several_routes_and_names_of_its_own_is_told_once() -> None:
    rules = (
        "guardproxy: 1\nmodel: m\nrules:\n  - id: a\n    require: output.demand > 0\n    action: fallback\n"
        "    fallback: [{value: {demand: 0.5}}, {value: {demand: 1.5}}]\n"
    )
    rulesets, problems = load_rulesets({"a.guard.yaml": rules})
    assert not problems or all(p.severity != "error" for p in problems)
    outputs = named_outputs((Column("y", "INT64"),), ("demand",))
    (found,) = unfit_fallbacks(rulesets["m"], outputs)
    assert found[0] == "a"
    assert list(unfit_fallbacks(rulesets["m"], named_outputs((Column("y", "FP64"),), ("demand",)))) == []
    assert list(unfit_fallbacks(rulesets["m"], named_outputs((Column("other", "INT64"),), ()))) == []


@pytest.mark.parametrize(
    ("signature", "sentence"),
    [
        ("{bad", "model.json"),
        ("{}", "has no signature"),
        ('{"inputs": [], "outputs": []}', "tells no inputs"),
    ],
)
def test_a_signature_file_that_is_none_is_a_problem_of_its_file(
    tmp_path: Path, signature: str, sentence: str
) -> None:
    (problem,) = check(tmp_path, "3", signature=signature)
    assert problem.startswith("E200 model.json:1 model.json")
    assert sentence in problem


def test_a_signature_file_that_is_not_there_is_a_problem() -> None:
    text = f"upstream: http://127.0.0.1:9\nroutes: [{{path: {PATH}, model: m, on_failure: open, signature: gone.json}}]\n"
    config, _ = parse_config(text, "guardproxy.yaml", Path("/nowhere"), {})
    assert [p.code for p in load(config).errors] == ["E200"]


def test_a_signature_names_the_columns_of_a_bare_matrix(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    metadata = {
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1]}, {"name": "store", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "demand", "datatype": "FP64", "shape": [-1]}],
    }  # fmt: skip
    file.write_text(json.dumps(metadata))

    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(b'{"predictions": [-1.0]}', JSON)) as upstream,
            serving(
                upstream.port,
                path="/v1/models/m:predict",
                protocol="kserve-v1",
                signature=file,
                outputs=("demand",),
            ) as service,
        ):
            response = await ask(service, b'{"instances": [[5000.0, "a"]]}', path="/v1/models/m:predict")
        assert json.loads(response.body) == {"error": "row 0: x is 5000"}

    run(scenario())


def test_a_message_without_a_batch_axis_is_one_row() -> None:
    async def scenario() -> None:
        body = json.dumps(
            {"inputs": [{"name": "x", "shape": [3], "datatype": "FP64", "data": [1, 2, 3]}]}
        ).encode()
        async with (
            RecorderUpstream(ok(demand([-1.0]), JSON)) as upstream,
            serving(upstream.port, features=("x", "y", "z"), batch_axis=False) as service,
        ):
            response = await ask(service, body)
        assert (response.body, said(response, b"Rows")) == (demand([5.0]), "replaced=1")

    run(scenario())


def test_what_a_codec_cannot_use_is_a_problem_of_the_configuration() -> None:
    text = (
        "upstream: http://127.0.0.1:9\nroutes:\n"
        "  - {path: /a, model: m, on_failure: open, protocol: json, request: {rows: '/a~2'}, response: {rows: /b}}\n"
    )
    config, problems = parse_config(text, "guardproxy.yaml", Path(), {})
    found = [*problems, *load(config).errors]
    assert [(p.code, p.file, p.line) for p in found] == [("E208", "guardproxy.yaml", 3)]


def test_fields_are_picked_from_rows_by_pointers() -> None:
    async def scenario() -> None:
        answer = b'{"result": {"items": [{"out": {"value": -1.0}}, {"out": {"value": 3.0}}]}}'
        async with (
            RecorderUpstream(ok(answer, JSON)) as upstream,
            serving(
                upstream.port,
                path="/score",
                protocol="json",
                request_rows="/rows",
                request_fields=(("x", "/in/a"), ("store", "/shop")),
                response_rows="/result/items",
                response_fields=(("demand", "/out/value"),),
            ) as service,
        ):
            rows = [{"in": {"a": 1}, "shop": "s1"}, {"in": {"a": 2}, "shop": "s2"}]
            response = await ask(service, json.dumps({"rows": rows}).encode(), path="/score")
        assert response.body == answer.replace(b"-1.0", b"5.0")

    run(scenario())


async def _get(service: Service, target: str) -> Response:
    client = await RawClient.connect(port_of(service))
    response = await client.exchange(
        request(b"", path=target, method=b"GET").replace(b"Content-Length: 0\r\n", b"")
    )
    await client.close()
    return response


async def _metrics(service: Service) -> str:
    client = await RawClient.connect(service.admin_port)
    response = await client.exchange(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await client.close()
    return response.body.decode()


def _break_the_judging(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(service.plane.routes[0].guard), "bind", broken)
