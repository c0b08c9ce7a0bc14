"""The first configuration: whatever a server says of itself, its text is a good configuration that means just that."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from guardproxy.codecs.signature import Column, Signature, read_signature
from guardproxy.config import Config, parse_config
from guardproxy.discovery import Draft, LeftOut, Model, Route, Sighting, Wishes, draft, name_problem
from guardproxy.discovery.draft import file_names, signature_text
from guardproxy.discovery.sighting import routes_of

WISHES = Wishes("http://127.0.0.1:9000", 9000)
FORMS = (
    ("/v2/models/{model}/infer", "open-inference"),
    ("/v1/models/{model}/versions/{version}:predict", "kserve-v1"),
)


def config_of(written: Draft) -> Config:
    """Read a draft as the server would; it has no problem, and other readers of YAML read the same."""
    config, problems = parse_config(written.text, "guardproxy.yaml", Path(), {})
    assert problems == []
    told = yaml.safe_load(written.text)
    assert [(route["path"], route["model"]) for route in told.get("routes", [])] == [
        (route.path, route.model) for route in config.routes
    ]
    return config


def sighting_of(*models: str, **more: object) -> Sighting:
    seen = tuple(Model(name, Signature((Column("x", "FP64", 4),), ())) for name in models)
    return Sighting("triton", "Triton", "2.51.0", seen, routes_of(models, FORMS), **more)  # type: ignore[arg-type]


def test_a_draft_names_the_upstream_its_routes_and_their_signatures() -> None:
    written = draft(sighting_of("demand"), WISHES)
    config = config_of(written)
    assert config.upstream == "http://127.0.0.1:9000"
    assert [(route.path, route.model, route.protocol) for route in config.routes] == [
        ("/v2/models/demand/infer", "demand", "open-inference"),
        ("/v1/models/demand/versions/{version}:predict", "demand", "kserve-v1"),
    ]
    assert {route["on_failure"] for route in yaml.safe_load(written.text)["routes"]} == {"open"}
    assert list(written.files) == ["signatures/demand.json"]
    assert read_signature(written.files["signatures/demand.json"], "x") == Signature(
        (Column("x", "FP64", 4),), ()
    )
    assert [route["signature"] for route in yaml.safe_load(written.text)["routes"]] == [
        "signatures/demand.json"
    ] * 2


@pytest.mark.parametrize(
    ("port", "listen", "admin"),
    [(9000, 8080, 8081), (8080, 8090, 8091), (8082, 8090, 8091), (8090, 8080, 8081)],
)
def test_the_ports_are_not_the_servers_own(port: int, listen: int, admin: int) -> None:
    config = config_of(draft(sighting_of("m"), Wishes(f"http://127.0.0.1:{port}", port)))
    assert (config.listen.port, config.admin.port) == (listen, admin)


def test_the_usual_grpc_port_of_a_server_of_the_protocol_is_a_comment() -> None:
    text = draft(sighting_of("m"), Wishes("http://[::1]:8000", 8000)).text
    assert '# grpc: {listen: "127.0.0.1:8082", upstream: "[::1]:8001"}' in text
    other = Sighting("mlflow", "MLflow", "", (Model("m"),), (Route("/invocations", "m", "mlflow"),))
    assert "grpc" not in draft(other, WISHES).text


def test_rules_that_are_there_are_used_and_others_are_a_comment() -> None:
    assert config_of(draft(sighting_of("m"), WISHES)).rules is None
    there = Wishes("http://127.0.0.1:9000", 9000, rules="../rules #1/", has_rules=True)
    assert config_of(draft(sighting_of("m"), there)).rules == Path("../rules #1")


def test_a_file_of_the_operators_own_is_named_and_no_other_is_written() -> None:
    written = draft(sighting_of("m"), Wishes("http://127.0.0.1:9000", 9000, signature="../models/ML model"))
    assert written.files == {}
    assert {route["signature"] for route in yaml.safe_load(written.text)["routes"]} == {"../models/ML model"}


def test_a_model_without_a_batch_axis_a_pointer_and_another_path_upstream_are_said() -> None:
    routes = (
        Route("/a", "m", "open-inference", batch_axis=False),
        Route("/b", "m", "json", "/rows", ""),
        Route("/c", "m", "sagemaker", upstream_path="/invocations"),
    )
    first, second, third = yaml.safe_load(draft(Sighting("x", "X", "", (Model("m"),), routes), WISHES).text)[
        "routes"
    ]
    assert first["batch_axis"] == "none"
    assert (second["request"], second["response"]) == ({"rows": "/rows"}, {"rows": ""})
    assert third["upstream_path"] == "/invocations"
    assert not {"batch_axis", "request", "upstream_path", "signature"} & third.keys() - {"upstream_path"}


def test_without_an_active_route_the_draft_passes_everything_through() -> None:
    routes = (
        Route("/predictions/NAME", "NAME", "torchserve", active=False, remark="put the name in"),
        Route("/p", "p", "json", active=False),
    )
    written = draft(Sighting("torchserve", "TorchServe", routes=routes), WISHES)
    assert config_of(written).routes == ()
    assert "  # - path: /predictions/NAME" in written.text
    assert "# put the name in:" in written.text
    assert "request: {rows: /FILL-IN}" in written.text
    # Its comments become routes when the signs are taken away.
    head, _, routes_text = written.text.partition("# routes:\n")
    bare = re.sub(r"^  # (?=- |  )", "  ", routes_text, flags=re.MULTILINE)
    told = yaml.safe_load(f"{head}routes:\n{bare}")["routes"]
    assert [(route["path"], route["protocol"]) for route in told] == [
        ("/predictions/NAME", "torchserve"),
        ("/p", "json"),
    ]


NASTY = [
    'it\'s "quoted"', "{version}", "a*", "#b: &c *d", "naïve 模型", "007", "0x10", "1e3", "true", "yes", "null", "~", "- a", "? b", "| c",
    "a: b", "a #b", "%TAG", "---", "...", "@x", "`x`", "a%2Fb", "!!python/name:os.system", "\\n", "<<", "2026-01-07", "1:30", ".inf", "😀",
]  # fmt: skip

_NAMES = st.text(min_size=1, max_size=40).filter(lambda name: not name_problem(name)) | st.sampled_from(NASTY)


@given(st.lists(_NAMES, min_size=1, max_size=6, unique=True), st.text(max_size=30), st.text(max_size=60))
@example(NASTY, "1.0\nroutes: []", "\u2028- path: /x")
def test_no_name_of_a_server_changes_what_a_draft_says(models: list[str], version: str, why: str) -> None:
    seen = tuple(Model(name, Signature((Column(name, "FP64"),), ()), why) for name in models)
    sighting = Sighting(
        "triton", version, version, seen, routes_of(models, FORMS), (LeftOut(version, why),), (why, version)
    )
    written = draft(sighting, WISHES)
    config = config_of(written)
    assert [route.model for route in config.routes] == [name for name in models for _ in FORMS]
    assert len({route.path for route in config.routes}) == len(config.routes)
    for name, text in written.files.items():
        assert re.fullmatch(r"signatures/[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}\.json", name)
        assert read_signature(text, name).inputs
    assert len(written.files) == len(models)


@given(st.text(max_size=30).filter(str.isprintable))
@example('"}, x: {"')
@example("~1é \\ 'a' # b")
def test_no_key_of_a_schema_changes_what_a_draft_says(key: str) -> None:
    sighting = Sighting("openapi", "X", "", (Model("m"),), (Route("/p", "m", "json", f"/{key}", "/out"),))
    config = config_of(draft(sighting, WISHES))
    assert [(route.request_rows, route.response_rows) for route in config.routes] == [(f"/{key}", "/out")]


def test_files_of_names_that_look_alike_are_different_files() -> None:
    names = file_names(["a/b", "a b", "A-B", "..", "", "x" * 300, "x" * 301, "con", ".hidden", "模型"])
    assert len({name.lower() for name in names.values()}) == len(names)
    assert names["a/b"] == "a-b"
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,90}", name) for name in names.values())


def test_a_signature_is_one_line_for_each_input_and_output() -> None:
    signature = Signature((Column('a"b', "FP64"), Column("c", "BYTES", 0)), (Column("y", "FP32", 3),))
    text = signature_text("m", signature)
    assert json.loads(text)["name"] == "m"
    assert read_signature(text, "m") == signature
    assert text.count("datatype") == 3 == sum("datatype" in line for line in text.splitlines())


def test_a_comment_names_a_few_of_many_inputs() -> None:
    columns = tuple(Column(f"c{at}", "FP64", at) for at in range(100))
    text = draft(
        Sighting("x", "X", "", (Model("m", Signature(columns, ())),), (Route("/p", "m", "mlflow"),)), WISHES
    ).text
    assert (
        "# m: c0 FP64[?], c1 FP64, c2 FP64[2], c3 FP64[3], c4 FP64[4], c5 FP64[5], 94 more -> (not told)"
        in text
    )
