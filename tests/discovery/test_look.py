"""Recognising model servers over real sockets, from what captures hold of them and from what their documents say."""

import asyncio
from collections.abc import Callable

import pytest

from guardproxy.codecs.signature import Column, Signature
from guardproxy.discovery import MAX_MODELS, MAX_PROBES, Asked, Looked, Sighting, look_at
from guardproxy.wire import parse_origin
from tests.discovery import servers
from tests.discovery.servers import Table, reply, serving

FORMS = ("/v2/models/{}/infer", "/v2/models/{}/versions/{{version}}/infer")


def looked_at(address: str, *models: str, timeout_s: float = 20.0) -> Looked:
    return asyncio.run(look_at(parse_origin(address), Asked(models), timeout_s))


def seen(table: Table | None, *models: str, otherwise: bytes = b"") -> Sighting:
    with serving(table, otherwise) as server:
        found = looked_at(server.address, *models)
        assert found.probes == len(server.asked) <= MAX_PROBES
        changing = {asked for asked in server.asked if not asked.startswith("GET ")}
        assert changing <= {"POST /v2/repository/index"}
        return found.sighting


def paths(sighting: Sighting, *, active: bool = True) -> list[str]:
    return [route.path for route in sighting.routes if route.active == active]


def test_mlserver_is_recognised_with_its_models_and_the_signature_it_tells() -> None:
    found = seen(servers.mlserver())
    assert (found.kind, found.said, found.problem) == ("mlserver", "MLServer 1.7.1", "")
    assert [model.name for model in found.models] == ["zoo", "diab", "wine"]
    assert found.models[0].signature == Signature(
        (Column("a", "FP64"), Column("b", "FP64")), (Column("output-0", "FP64"),)
    )
    assert found.models[1].signature is None
    assert paths(found) == [form.format(name) for name in ("zoo", "diab", "wine") for form in FORMS]
    # Three models, one path of MLflow's: a person must say whose it is.
    assert paths(found, active=False) == ["/invocations"]


def test_mlserver_with_one_model_in_its_mlflow_runtime_gets_that_models_path_too() -> None:
    found = seen(servers.mlserver(), "zoo")
    assert [(route.path, route.model, route.protocol) for route in found.routes if route.active][-1] == (
        "/invocations",
        "zoo",
        "mlflow",
    )


def test_kserve_is_recognised_and_gets_the_paths_of_both_versions() -> None:
    found = seen(servers.kserve())
    assert (found.kind, found.said) == ("kserve", "KServe 0.21.0")
    assert [(route.path, route.protocol) for route in found.routes] == [
        ("/v2/models/diab/infer", "open-inference"),
        ("/v1/models/diab:predict", "kserve-v1"),
    ]


def test_kserve_of_old_has_the_paths_of_version_1_only() -> None:
    found = seen(servers.kserve_v1())
    assert found.kind == "kserve"
    assert paths(found) == ["/v1/models/diab:predict"]


def test_triton_is_recognised_with_states_and_models_that_take_no_batches() -> None:
    found = seen(servers.triton())
    assert found.said == "Triton 2.51.0"
    assert [(model.name, model.note) for model in found.models] == [
        ("demand", ""),
        ("single", "UNAVAILABLE when init looked"),
    ]
    assert found.models[0].signature == Signature(
        (Column("x", "FP64", 4), Column("store", "BYTES")), (Column("predict", "FP32"),)
    )
    assert {route.model: route.batch_axis for route in found.routes} == {"demand": True, "single": False}


def test_a_triton_whose_models_are_in_no_repository_lists_them_in_its_statistics() -> None:
    stats = [{"name": name, "version": "1", "inference_count": 0} for name in ("demand", "single", "demand")]
    table = {
        **servers.triton(),
        "POST /v2/repository/index": reply([]),
        "GET /v2/models/stats": reply({"model_stats": stats}),
    }
    assert [model.name for model in seen(table).models] == ["demand", "single"]


def test_another_server_of_the_protocol_is_called_by_its_name() -> None:
    table = {
        "GET /v2": reply({"name": "OpenVINO Model Server", "version": "2026.1"}),
        "GET /v2/models/m": reply({"name": "m"}),
    }
    found = seen(table, "m", "nope")
    assert found.kind == "open-inference"
    assert found.said == "an Open Inference server (OpenVINO Model Server) 2026.1"
    assert paths(found) == [form.format("m") for form in FORMS]
    assert [(left.name, left.why) for left in found.left_out] == [("nope", "the server does not know it")]


def test_mlflow_is_recognised_and_its_one_model_may_be_named() -> None:
    found = seen(servers.mlflow())
    assert (found.said, [model.name for model in found.models]) == ("MLflow 3.17.2", ["model"])
    assert any("--mlmodel" in note for note in found.notes)
    found = seen(servers.mlflow(), "demand", "other")
    assert [(route.path, route.model, route.protocol) for route in found.routes] == [
        ("/invocations", "demand", "mlflow")
    ]
    assert [left.name for left in found.left_out] == ["other"]


def test_tensorflow_serving_is_recognised_by_its_refusal_and_tells_a_named_models_signature() -> None:
    table, otherwise = servers.tensorflow()
    found = seen(table, "half_plus_two", "nope", otherwise=otherwise)
    assert found.kind == "tensorflow-serving"
    assert [model.name for model in found.models] == ["half_plus_two"]
    assert found.models[0].signature == Signature((Column("x", "FP32", 3),), (Column("y", "FP32", 3),))
    assert paths(found) == [
        "/v1/models/half_plus_two:predict",
        "/v1/models/half_plus_two/versions/{version}:predict",
        "/v1/models/half_plus_two/labels/{label}:predict",
        "/v1/models/half_plus_two:regress",
    ]
    assert [left.name for left in found.left_out] == ["nope"]


def test_servers_that_list_no_model_ask_for_a_name_and_show_what_its_routes_would_be() -> None:
    for table, otherwise in (servers.tensorflow(), servers.torchserve()):
        found = seen(table, otherwise=otherwise)
        assert found.problem == "it lists no model"
        assert "--model NAME" in found.help
        assert found.routes
        assert all("NAME" in path for path in paths(found, active=False))
        assert paths(found) == []


def test_torchserve_is_recognised_by_its_description_and_without_it_by_its_errors() -> None:
    table, otherwise = servers.torchserve()
    assert seen(table, "m", otherwise=otherwise).said == "TorchServe 0.12.0"
    walled = reply({"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed"}, 400)
    found = seen({}, "m", otherwise=walled)
    assert found.said == "TorchServe"
    assert paths(found) == ["/predictions/m", "/predictions/m/{version}"]


def test_bentoml_gets_a_route_for_each_endpoint() -> None:
    found = seen(servers.bentoml())
    assert [(route.path, route.model, route.protocol) for route in found.routes] == [
        ("/predict", "predict", "bentoml"),
        ("/v2/score", "score", "bentoml"),
    ]
    assert paths(seen(servers.bentoml(), "score")) == ["/v2/score"]
    assert "answered later" in seen(servers.bentoml(), "train").left_out[0].why


def test_seldon_is_recognised_and_describes_its_model() -> None:
    found = seen(servers.seldon())
    assert [(model.name, model.signature) for model in found.models] == [
        ("iris", Signature((Column("sepal", "FP64", 4),)))
    ]
    assert paths(found) == ["/api/v1.0/predictions", "/api/v0.1/predictions", "/predict"]


def test_a_container_for_sagemaker_gets_its_path_and_boto3s_as_a_comment() -> None:
    found = seen(servers.sagemaker(), "demand")
    assert found.kind == "sagemaker"
    assert paths(found) == ["/invocations"]
    assert paths(found, active=False) == ["/endpoints/{name}/invocations"]


def test_a_server_that_is_only_alive_is_unknown() -> None:
    found = seen({"GET /ping": reply("pong", 200, "text/plain")})
    assert (found.kind, found.problem) == ("unknown", "it is no model server that guardproxy knows")


def test_openais_paths_are_those_that_the_server_describes() -> None:
    found = seen(servers.vllm())
    assert found.said == "vLLM 0.11.2"
    assert [model.name for model in found.models] == ["meta/llama-3", "adapter"]
    assert [(route.path, route.model) for route in found.routes] == [
        ("/v1/chat/completions", "meta/llama-3"),
        ("/v1/completions", "meta/llama-3"),
    ]
    assert any("judge the answers of all" in note for note in found.notes)
    assert any("each path has other fields" in note for note in found.notes)
    assert any("buffer: true" in note for note in found.notes)
    plain = {"GET /v1/models": reply({"object": "list", "data": [{"id": "m"}]})}
    assert len(paths(seen(plain))) == 3


def test_an_openapi_description_tells_where_rows_are() -> None:
    found = seen(servers.fastapi())
    assert found.said == "an OpenAPI server (Forecasts) 2.0"
    assert [(route.path, route.model, route.request_rows, route.response_rows) for route in found.routes] == [
        ("/batch/predict", "predict", "/rows", "/predictions"),
        ("/one/predict", "one-predict", "/features", ""),
        ("/bare", "bare", "", ""),
    ]
    assert all(route.active for route in found.routes)
    only = seen(servers.fastapi(), "predict", "nope")
    assert paths(only) == ["/batch/predict"]
    assert [left.name for left in only.left_out] == ["nope"]


def test_a_description_without_schemas_leaves_the_pointers_to_a_person() -> None:
    found = seen(servers.fastapi(typed=False))
    assert "does not say where rows stand" in found.problem
    assert paths(found) == []
    assert len(paths(found, active=False)) == 3


def test_messages_that_are_rows_as_they_stand_have_the_pointer_to_the_whole_document() -> None:
    row = {"type": "object", "properties": {"a": {"type": "number"}}}
    content = {"content": {"application/json": {"schema": row}}}
    paths_ = {"/p": {"post": {"requestBody": content, "responses": {"200": content}}}}
    found = seen({"GET /openapi.json": reply({"openapi": "3.1.0", "paths": paths_})})
    (route,) = found.routes
    assert (route.active, route.request_rows, route.response_rows) == (True, "", "")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/components/schemas/Loop"},
        {"$ref": "elsewhere.json#/x"},
        {"$ref": "#/components/schemas/None"},
        {"anyOf": [[], 3, {"type": "null"}]},
        {"allOf": 3, "properties": []},
        {"properties": {"a": 3}},
        3,
    ],
)
def test_a_strange_schema_is_a_route_that_is_not_active_or_none(schema: object) -> None:
    operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": []}
    document = {
        "openapi": "3.1.0", "info": [], "paths": {"/p": {"post": operation}, "/q": 3, "/r": {"post": []}},
        "components": {"schemas": {"Loop": {"$ref": "#/components/schemas/Loop"}}},
    }  # fmt: skip
    found = seen({"GET /openapi.json": reply(document)})
    assert found.kind == "openapi"
    assert found.problem
    assert paths(found, active=False) == ["/p"]


def test_a_model_that_the_server_does_not_list_is_left_out_with_the_likely_name() -> None:
    found = seen(servers.mlserver(), "zooo", "diab")
    assert [model.name for model in found.models] == ["diab"]
    assert [(left.name, left.why) for left in found.left_out] == [
        ("zooo", "the server does not list it; did you mean 'zoo'?")
    ]
    lost = seen(servers.mlserver(), "zooo")
    assert lost.problem == "none of the models can get a route"
    assert [left.name for left in lost.left_out] == ["zooo"]


def test_a_name_that_cannot_stand_in_a_path_is_refused_where_its_path_would_hold_it() -> None:
    tensorflow, otherwise = servers.tensorflow()
    for found in (seen(servers.triton(), "../x"), seen(tensorflow, "a/b", otherwise=otherwise)):
        assert found.problem == "none of the models can get a route"
        assert "cannot stand in a path" in found.left_out[0].why
    assert paths(seen(servers.vllm(), "meta/llama-3")) == ["/v1/chat/completions", "/v1/completions"]


def test_a_thousand_models_are_cut_to_what_a_first_configuration_holds() -> None:
    table = {
        "GET /v2": reply({"name": "triton", "version": "2.51.0"}),
        "POST /v2/repository/index": reply(
            [{"name": f"m{number}", "state": "READY"} for number in range(1_000)]
        ),
    }
    found = seen(table, otherwise=servers.triton()["GET /v2/models/demand"] or b"")
    assert len(found.models) == MAX_MODELS
    assert sum(model.signature is not None for model in found.models) == 20
    assert any("only the first 20 models" in note for note in found.notes)
    assert [left.name for left in found.left_out] == ["950 more"]


HOSTILE_NAMES = [
    "../../etc/passwd", "..", "a/b", "a\\b", "a\nb: c", "\x1b[31m", "", " ", "x" * 201, 3, None, ["a"], {"name": "a"}, "\u202eevil",
]  # fmt: skip


def test_names_that_no_path_can_hold_are_left_out_and_nothing_is_asked_of_them() -> None:
    good = ['it\'s "quoted"', "{version}", "a*", "#b: &c", "naïve 模型", "007", "true", "a%2Fb"]
    table = {
        "GET /v2": reply({"name": "triton", "version": "2"}),
        "POST /v2/repository/index": reply(
            [{"name": name, "state": "READY"} for name in [*HOSTILE_NAMES, *good]]
        ),
    }
    with serving(table) as server:
        found = looked_at(server.address).sighting
        asked = server.asked
    assert [model.name for model in found.models] == good
    assert all(left.name.isprintable() and len(left.name) < 80 for left in found.left_out)
    assert not any(".." in target or "\\" in target for target in asked)
    assert all(route.path.isascii() and route.path.count("/") in {4, 6} for route in found.routes)


def hostile_json() -> list[bytes]:
    deep = b"[" * 100_000 + b"]" * 100_000
    return [
        b"", b"null", b"[]", b"3", b'"name"', deep, b'{"name": ' + deep + b"}", b"{", b"\xff\xfe", b'{"name": "\\ud800"}',
        b'{"name": 3, "models": 3, "data": 3, "routes": 3, "paths": 3, "error": 3, "info": 3, "openapi": 3}',
        b'{"name": "", "models": [3], "data": [3], "routes": [3], "paths": [3], "error": [3], "info": [3], "openapi": "3"}',
        b'{"name": [], "models": {}, "data": {}, "routes": {}, "paths": {}, "error": {}, "info": {}, "openapi": "3"}',
        b'{"name": "triton", "version": 3, "models": [null, [], {}], "inputs": 3, "outputs": [3]}',
        b'[{"name": "m", "state": 3}, {"state": "READY"}, 3, null, {"name": {"a": 1}}]',
        b'{"data": [{"id": null}], "routes": [{"name": null, "route": 3}, {"name": "a"}, {"route": "/x"}]}',
        b"<!DOCTYPE html><html><head><title>Welcome</title></head></html>",
        b'{"code": 1, "type": 2, "message": 3}',
        b'{"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": {"x": 3, "y": {"tensor_shape": 3}}}}}}}',
    ]  # fmt: skip


@pytest.mark.parametrize("body", hostile_json(), ids=range(len(hostile_json())))
@pytest.mark.parametrize("status", [200, 404, 500])
def test_an_answer_that_nobody_expects_is_seen_for_what_it_is(body: bytes, status: int) -> None:
    with serving({}, reply(body, status)) as server:
        for models in ((), ("m",)):
            found = looked_at(server.address, *models).sighting
            assert bool(found.problem) != bool(paths(found))


def test_each_question_may_meet_a_strange_answer() -> None:
    """Whatever stands in the place of one answer of a known server, there is a sighting."""
    tensorflow, refusal = servers.tensorflow()
    kinds: list[tuple[Table, bytes]] = [
        (servers.mlserver(), b""), (servers.kserve(), b""), (servers.triton(), b""), (servers.seldon(), b""), (servers.bentoml(), b""),
        (servers.vllm(), b""), (servers.mlflow(), b""), (servers.sagemaker(), b""), (servers.fastapi(), b""), (tensorflow, refusal),
    ]  # fmt: skip
    strange = [reply(body) for body in hostile_json()[-4:]] + [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ]
    for table, otherwise in kinds:
        for target in table:
            for raw in strange:
                found = seen(
                    {**table, target: raw}, "half_plus_two" if otherwise else "zoo", otherwise=otherwise
                )
                assert found.kind


@pytest.mark.parametrize(
    ("raw", "kind", "part"),
    [
        (reply("", 302, "text/html", "Location: https://elsewhere/login"), "unknown", "redirects to https://elsewhere/login"),
        (reply("", 401), "unknown", "who asks"),
        (reply("", 403), "unknown", "refuses who asks"),
        (b"SSH-2.0-OpenSSH_9.7\r\n\r\n", "unreachable", "answers nothing that was asked"),
        (b"\x15\x03\x01\x00\x02\x02\x50\r\n", "unreachable", "answers nothing that was asked"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc", "unreachable", "answers nothing"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", "unreachable", "answers nothing"),
        (reply(b"\x1f\x8b" + b"x" * 50, 200, "application/json", "Content-Encoding: gzip"), "unknown", "no model server"),
        (reply("<html>", 200, "text/html"), "unknown", "no model server"),
    ],
)  # fmt: skip
def test_what_is_no_model_server_is_said_in_a_sentence(raw: bytes, kind: str, part: str) -> None:
    with serving({}, raw) as server:
        found = looked_at(server.address).sighting
    assert found.kind == kind
    assert part in found.problem
    assert found.problem.isprintable()
    assert found.help


def test_nothing_listening_is_told_after_one_question() -> None:
    with serving({}) as server:
        address = server.address
    found = looked_at(address)
    assert found.probes == 1
    assert found.sighting.kind == "unreachable"
    assert "Connection refused" in found.sighting.problem


def test_a_server_that_hangs_is_given_up_after_the_time_it_may_take() -> None:
    with serving({}, None) as server:
        found = looked_at(server.address, timeout_s=0.1)
    assert found.sighting.problem == "answers nothing that was asked: no answer within 0.1 s"


def test_one_question_that_hangs_does_not_hide_the_others() -> None:
    with serving({**servers.mlflow(), "GET /schema.json": None}) as server:
        assert looked_at(server.address, timeout_s=1.5).sighting.kind == "mlflow"


def endless(asked: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[" + b" " * 64_000_000


def chunked(asked: str) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"ffff\r\n" + b" " * 65_535 + b"\r\n") * 1_000
    )


@pytest.mark.parametrize("answer", [endless, chunked])
def test_64_megabytes_are_not_read_to_their_end(answer: Callable[[str], bytes]) -> None:
    with serving(answer=answer) as server:
        found = looked_at(server.address)
    assert found.sighting.problem
    assert server.cut == found.probes


def test_no_credential_cookie_or_coding_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving(
        {**servers.kserve(), "GET /v2": reply({"name": "kserve"}, 200, "application/json", "Set-Cookie: a=b")}
    ) as server:
        assert looked_at(server.address).sighting.kind == "kserve"
        lines = b"".join(server.heads).lower()
    assert b"accept-encoding: identity" in lines
    for name in (b"cookie:", b"authorization:", b"gzip"):
        assert name not in lines
