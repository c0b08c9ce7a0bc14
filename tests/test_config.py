"""The configuration: every problem at once, flags over environment over file."""

from pathlib import Path

import pytest

from guardproxy.config import Config, RouteConfig, parse_config, schema
from guardproxy.config.keys import FAILURE_KEYS, KEYS, POINTER_KEYS, ROUTE_KEYS
from guardproxy.config.sections import NESTED_KEYS
from guardproxy.decision import FailureMode, FailurePolicy, Reason

GOOD = """\
listen: 127.0.0.1:9090
admin: {listen: "127.0.0.1:9091", auth: none}
store: sqlite:///holds.db
rules: rules/
upstream: http://127.0.0.1:9000
holds: {undo: 3s, max_open: 50}
routes:
  - path: /v2/models/demand/infer
    model: demand
    protocol: open-inference
    profile: profiles/demand.profile.yaml
    key: [store_id, sku]
    on_failure: open
    timeout: 10s
    max_body: 16MiB
"""


def parse(
    text: str, environment: dict[str, str] | None = None, flags: dict[str, str] | None = None
) -> tuple[Config, list[str]]:
    config, problems = parse_config(text, "etc/guardproxy.yaml", Path("etc"), environment or {}, flags)
    return config, [f"{p.line}:{p.column} {p.code} {p.message} | {p.help}" for p in problems]


def test_a_whole_configuration_is_read_with_paths_relative_to_its_file() -> None:
    config, problems = parse(GOOD)
    assert not problems
    (route,) = config.routes
    assert (config.listen.port, config.admin.port, config.auth, config.undo_s) == (9090, 9091, "none", 3.0)
    assert config.store == Path("etc/holds.db")
    assert route.profile == Path("etc/profiles/demand.profile.yaml")
    assert (route.key, route.on_failure, route.timeout_s, route.max_body) == (
        ("store_id", "sku"), FailurePolicy(FailureMode.OPEN), 10.0, 16 * 1024**2,
    )  # fmt: skip


def test_every_mistake_is_reported_in_one_run_at_its_place() -> None:
    _, problems = parse(
        "listen: 8080\nuptream: http://x\nstore: mysql://x\nroutes:\n  - {path: v2, model: m, on_failure: maybe, timeout: 10}\n"
        "  - {path: /a, model: m}\n"
    )
    starts = [problem.split(" |")[0] for problem in problems]
    assert starts == [
        "2:1 E204 unknown key 'uptream' in the configuration",
        "1:9 E208 listen must be HOST:PORT, such as 127.0.0.1:8080",
        "3:8 E208 store: 'mysql://x' is no store",
        "5:12 E208 route 1, path must be a path such as /v2/models/demand/infer",
        "5:38 E207 route 1, on_failure cannot be maybe",
        "5:54 E206 route 1, timeout: '10' is not a duration such as 250ms, 10s, 15m, 4h or 2d",
        "6:5 E205 route 2 needs the key 'on_failure'",
    ]


def test_on_failure_has_no_default() -> None:
    _, problems = parse("upstream: http://127.0.0.1:9\nroutes: [{path: /a, model: m}]\n")
    assert any("needs the key 'on_failure'" in problem for problem in problems)


def test_flags_win_over_the_environment_and_that_over_the_file() -> None:
    environment = {
        "GUARDPROXY_LISTEN": "127.0.0.1:1",
        "GUARDPROXY_HOLDS_UNDO": "5s",
        "GUARDPROXY_NOT_OURS": "x",
    }
    config, problems = parse(GOOD, environment, {"listen": "127.0.0.1:2"})
    assert not problems
    assert (config.listen.port, config.undo_s) == (2, 5.0)


def test_no_authentication_is_refused_where_others_can_reach_it() -> None:
    _, problems = parse(GOOD.replace("127.0.0.1:9091", "0.0.0.0:9091"))
    assert len(problems) == 1
    assert "others can reach" in problems[0]


def test_a_redis_store_says_that_this_version_has_none() -> None:
    _, problems = parse(GOOD.replace("sqlite:///holds.db", "redis://127.0.0.1/0"))
    assert "SQLite only" in problems[0]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("redis://ann:geheim@h/zero", "the database must be a number"),
        ("redis+sentinel://ann:geheim@h:26379", "it does not name the primary"),
        ("redis+cluster://ann:geheim@h/1", "a cluster has only database 0"),
        ("redis://ann:geheim@h:99999", "Port out of range"),
        ("mongodb://ann:geheim@h", "mongodb scheme is not known"),
    ],
)
def test_a_bad_address_of_statistics_is_a_sentence_at_its_place(address: str, words: str) -> None:
    _, (problem,) = parse(GOOD + f'statistics: {{store: "{address}"}}\n')
    assert problem.startswith("16:21 E208 statistics.store: ")
    assert words in problem
    assert "geheim" not in problem


@pytest.mark.parametrize("text", ["", "[]", "a", "routes: {}", "routes: [1]", "admin: 3", "[[[[", "- &a *a"])
def test_odd_documents_give_problems_and_not_exceptions(text: str) -> None:
    config, problems = parse(text)
    assert isinstance(config, Config)
    assert problems or not text


def test_the_schema_knows_the_keys_that_are_read() -> None:
    properties = schema()["properties"]
    assert isinstance(properties, dict)
    routes = properties["routes"]["items"]
    assert routes["required"] == ["path", "model", "on_failure"]
    assert {"path", "protocol", "request", "max_body"} <= set(routes["properties"])


ROLLOUT = (
    GOOD
    + """\
rules_candidate: next/
candidate: {sample: 25%}
state: state/
reload: {every: 5s, debounce: 1s, tests: false}
webhooks:
  - {url: "https://hooks.example/x", events: [breaker, reload], header_file: token}
  - {url: "http://127.0.0.1:9/y", events: hold}
recording: {dir: traffic, per_minute: 50, max_size: 64MiB, max_age: 7d, redact: [features.name, output.text]}
"""
)


def test_the_keys_of_the_roll_out_are_read() -> None:
    config, problems = parse(ROLLOUT)
    assert not problems
    assert (config.rules_candidate, config.candidate_sample) == (Path("etc/next"), 0.25)
    assert (config.reload_every_s, config.reload_debounce_s, config.reload_tests) == (5.0, 1.0, False)
    assert config.state_folder == Path("etc/state")
    assert [(hook.url, hook.events, hook.header_file) for hook in config.webhooks] == [
        ("https://hooks.example/x", ("breaker", "reload"), Path("etc/token")),
        ("http://127.0.0.1:9/y", ("hold",), None),
    ]
    assert (config.record_dir, config.record_per_minute, config.record_max_bytes) == (
        Path("etc/traffic"),
        50,
        2**26,
    )
    assert (config.record_max_age_s, config.record_redact) == (7 * 86_400.0, ("features.name", "output.text"))


def test_the_last_good_rules_are_kept_beside_the_store_unless_said_otherwise() -> None:
    assert parse(GOOD)[0].state_folder == Path("etc/holds-state")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("webhooks: [{url: ftp://x/y}]", "must be an http or https address"),
        ("webhooks: [{url: 'http://u:p@x/y'}]", "must not carry a password"),
        ("webhooks: [{url: 'http://x:0/y'}]", "must be an http or https address"),
        ("webhooks: [{url: 'http://[x/y'}]", "must be an http or https address"),
        ("webhooks: [{events: [hold]}]", "needs the key 'url'"),
        ("webhooks: [{url: 'http://x/', events: [brekaer]}]", "did you mean 'breaker'?"),
        ("recording: {per_minute: 10}", "recording needs the key 'dir'"),
        ("recording: {dir: x, redact: [name]}", "names no field"),
        ("recording: {dir: x, max_size: 1KiB}", "must lie between"),
        ("reload: {evry: 1s}", "did you mean 'every'?"),
        ("reload: {every: 1ms}", "must lie between"),
        ("reload: {tests: no}", "must be true or false"),
        ("candidate: {sample: 120%}", "must lie between"),
        ("candidate: 1", "candidate must be a mapping"),
    ],
)
def test_a_wrong_key_of_the_roll_out_is_a_sentence(more: str, sentence: str) -> None:
    _, problems = parse(f"{GOOD}{more}\n")
    assert any(sentence in problem for problem in problems), problems


def test_a_candidate_without_rules_is_refused() -> None:
    _, problems = parse("upstream: http://127.0.0.1:9\nrules_candidate: next/\n")
    assert any("rules_candidate needs rules" in problem for problem in problems)


def test_sections_can_be_set_key_by_key_from_the_environment() -> None:
    environment = {
        "GUARDPROXY_RELOAD_EVERY": "9s",
        "GUARDPROXY_RECORDING_DIR": "elsewhere",
        "GUARDPROXY_STATE": "/var/lib/guardproxy",
    }
    config, problems = parse(ROLLOUT, environment)
    assert not problems
    assert (config.reload_every_s, config.reload_debounce_s) == (9.0, 1.0)
    assert (config.record_dir, config.record_per_minute) == (Path("elsewhere"), 50)
    assert config.state_folder == Path("/var/lib/guardproxy")


def test_the_schema_has_every_key_that_is_read() -> None:
    properties = schema()["properties"]
    assert isinstance(properties, dict)
    assert set(properties) == set(KEYS)
    for section, keys in NESTED_KEYS.items():
        assert set(properties[section]["properties"]) == set(keys)


ROUTE = """\
upstream: http://127.0.0.1:9000
routes:
  - path: {path}
    model: m
    on_failure: {policy}
    {more}
"""


def route_of(
    path: str = "/v2/models/m/infer", policy: str = "open", more: str = "timeout: 1s"
) -> tuple[RouteConfig | None, list[str]]:
    config, problems = parse(ROUTE.format(path=path, policy=policy, more=more))
    return (config.routes[0] if config.routes else None), problems


def test_a_policy_is_one_mode_or_a_mode_by_reason() -> None:
    route, problems = route_of(policy="{default: closed, streamed: open, fault: open}")
    assert not problems
    assert route is not None
    policy = route.on_failure
    assert {reason for reason in Reason if policy.of(reason) is FailureMode.OPEN} == {
        Reason.STREAMED,
        Reason.FAULT,
    }
    assert str(policy) == "closed, streamed open, fault open"
    plain, _ = route_of(policy="closed")
    assert plain is not None
    assert {plain.on_failure.of(reason) for reason in Reason} == {FailureMode.CLOSED}


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        (
            "{streamed: open}",
            "5:17 E205 route 1, on_failure needs the key 'default' | it is for every reason",
        ),
        ("opne", "5:17 E207 route 1, on_failure cannot be opne | did you mean 'open'?"),
        ("{default: opne}", "5:27 E207 route 1, on_failure.default cannot be opne | did you mean 'open'?"),
        (
            "{default: open, streamd: closed}",
            "5:33 E204 unknown key 'streamd' in route 1, on_failure | did you mean 'streamed'?",
        ),
        (
            "{default: open, streaming: closed}",
            "5:33 E204 unknown key 'streaming' in route 1, on_failure | write 'streamed'",
        ),
        (
            "{default: open, too_large: closed}",
            "5:33 E204 unknown key 'too_large' in route 1, on_failure | write 'oversize'",
        ),
        (
            "{default: open, opaque: maybe}",
            "5:41 E207 route 1, on_failure.opaque cannot be maybe | allowed: open, closed",
        ),
        ("[open]", "5:17 E207 route 1, on_failure cannot be a list | allowed: open, closed"),
    ],
)
def test_a_policy_that_is_none_is_told_with_the_likely_word(policy: str, problem: str) -> None:
    _, problems = route_of(policy=policy)
    assert problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("path", "more", "protocol"),
    [
        ("/v2/models/m/infer", "timeout: 1s", "open-inference"),
        ("/v2/models/{model}/versions/{version}/infer", "protocol: auto", "open-inference"),
        ("/v1/models/m:predict", "protocol: auto", "kserve-v1"),
        ("/invocations", "timeout: 1s", "mlflow"),
        ("/endpoints/{name}/invocations", "timeout: 1s", "sagemaker"),
        ("/openai/v1/chat/completions", "protocol: auto", "openai"),
        ("/anything/*", "timeout: 1s", "open-inference"),
        ("/invocations", "protocol: sagemaker", "sagemaker"),
    ],
)
def test_the_protocol_is_the_one_named_or_that_of_the_path(path: str, more: str, protocol: str) -> None:
    route, problems = route_of(f"'{path}'", more=more)
    assert not problems
    assert route is not None
    assert route.protocol == protocol


def test_a_path_of_no_protocol_cannot_be_told_automatically() -> None:
    _, problems = route_of("/score", more="protocol: auto")
    (problem,) = problems
    assert problem.startswith(
        "6:15 E208 route 1, protocol: the path /score is that of no protocol | write one of open-i"
    )
    _, (misspelt,) = route_of(more="protocol: mlfow")
    assert misspelt == "6:15 E207 route 1, protocol cannot be mlfow | did you mean 'mlflow'?"


def test_what_a_route_says_about_its_messages_is_read() -> None:
    route, problems = route_of(
        "/score",
        more=(
            "protocol: json\n    buffer: true\n    upstream_path: /predict\n    signature: sig.json\n"
            "    methods: [PUT]\n"
            "    request: {rows: /data, fields: {x: /in/a, 'odd name': ''}}\n"
            "    response: {rows: '', columns: /cols}"
        ),
    )
    assert not problems
    assert route is not None
    assert (route.buffer, route.upstream_path, route.signature, route.methods) == (
        True, "/predict", Path("etc/sig.json"), ("PUT",),
    )  # fmt: skip
    assert (route.request_rows, route.request_columns, route.response_rows, route.response_columns) == (
        "/data", None, "", "/cols",
    )  # fmt: skip
    assert route.request_fields == (("x", "/in/a"), ("odd name", ""))
    assert route.response_fields == ()
    tensors, problems = route_of(more="batch_axis: none")
    assert not problems
    assert tensors is not None
    assert not tensors.batch_axis


@pytest.mark.parametrize(
    "where", ["request: {rows: ''}", "response: {fields: {y: /a}}", "response: {rows: /a}"]
)
def test_a_json_route_must_say_where_its_rows_are_even_where_that_is_the_root(where: str) -> None:
    assert route_of("/score", more=f"protocol: json\n    {where}")[1] == []
    _, problems = route_of("/score", more="protocol: json")
    assert len(problems) == 1
    assert "must say where its rows are" in problems[0]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("batch_axis: 0", "6:17 E207 route 1, batch_axis cannot be 0 | write first"),
        ("batch_axis: last", "6:17 E207 route 1, batch_axis cannot be last | allowed: first, none"),
        ("buffer: all", "6:13 E206 route 1, buffer must be true or false, not text | "),
        (
            "upstream_path: '/a/{name}'",
            "6:20 E208 route 1, upstream_path must be a path without placeholders | ",
        ),
        (
            "upstream_path: /a?b",
            "6:20 E208 route 1, upstream_path must be a path such as /v2/models/demand/infer | ",
        ),
        (
            "protocol: json\n    request: {rows: '', fields: [a]}",
            "7:33 E206 route 1, request.fields must be a mapping, not a list",
        ),
        (
            "protocol: json\n    request: {fields: {a: $.b}, rows: ''}",
            "7:27 E206 route 1, request.fields.a must be a JSON Pointer such as /data/rows | write each step behind a slash",
        ),
        (
            "protocol: json\n    request: {rows: ''}\n    response: {row: /a}",
            "8:16 E204 unknown key 'row' in route 1, response | did you mean 'rows'?",
        ),
        (
            "protocol: json\n    request: {rows: /a, columns: /b, fields: {c: /c}}",
            "7:25 E208 route 1, request has both columns and fields | columns names",
        ),
        (
            "request: {rows: /a}",
            "6:5 E208 route 1, request means nothing to the protocol open-inference | write protocol: json, or leave",
        ),
        (
            "protocol: mlflow\n    batch_axis: none",
            "7:5 E208 route 1, batch_axis means nothing to the protocol mlflow | write protocol: open-inference, or",
        ),
        (
            "features: [a, b, a]",
            "6:15 E208 route 1, features names 'a' twice | each column has a name of its own",
        ),
    ],
)
def test_what_a_route_cannot_say_is_told_at_its_place(more: str, problem: str) -> None:
    _, problems = route_of(more=more)
    assert any(problem in one for one in problems)
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("v2", "write open-inference"),
        ("Triton", "write open-inference"),
        ("tensorflow-serving", "write kserve-v1"),
        ("databricks", "write mlflow"),
        ("vllm", "write openai"),
        ("fastapi", "write bentoml"),
        ("grpc", "write open-inference, and where gRPC calls come in under the root key `grpc`"),
    ],
)
def test_a_servers_name_in_place_of_its_protocol_is_answered_with_the_protocol(
    word: str, advice: str
) -> None:
    _, (problem,) = route_of(more=f"protocol: {word}")
    assert problem == f"6:15 E207 route 1, protocol cannot be {word} | {advice}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen: 127.0.0.1:8081", "listen and admin.listen are both 127.0.0.1:8081"),
        (
            'grpc: {listen: "127.0.0.1:8080", upstream: "127.0.0.1:1"}',
            "listen and grpc.listen are both 127.0.0.1:8080",
        ),
        ("upstream: http://127.0.0.1:8080", "upstream is guardproxy's own address (listen)"),
        ("upstream: http://127.0.0.1:8081", "upstream is guardproxy's own address (admin.listen)"),
        (
            'grpc: {listen: "127.0.0.1:8082", upstream: "127.0.0.1:8082"}',
            "grpc.upstream is guardproxy's own address (grpc.listen)",
        ),
        (
            "routes: [{path: /a, model: m, on_failure: open, upstream: 'http://127.0.0.1:8080'}]",
            "the upstream of the route /a is guardproxy's own address (listen)",
        ),
    ],
)
def test_addresses_that_meet_each_other_are_refused(text: str, problem: str) -> None:
    whole = text if text.startswith("upstream") else f"upstream: http://127.0.0.1:9\n{text}"
    _, problems = parse(whole)
    assert [each.split(" | ")[0].split(" ", 2)[2] for each in problems] == [problem]


def test_ports_that_the_system_chooses_meet_nobody() -> None:
    assert not parse("listen: 127.0.0.1:0\nadmin: {listen: '127.0.0.1:0'}\nupstream: http://127.0.0.1:9\n")[1]


def test_what_is_there_but_wrong_is_not_called_missing_as_well() -> None:
    assert len(parse("upstream: http://127.0.0.1:9/api\n")[1]) == 1
    _, problems = parse(
        "upstream: http://127.0.0.1:9\ngrpc: {listen: '127.0.0.1:1', upstream: 'http://x:1'}\n"
    )
    assert len(problems) == 1
    _, (problem,) = parse("upstream: http://127.0.0.1:9\ngrpc: {listen: '127.0.0.1:1'}\n")
    assert problem.startswith("2:1 E205 grpc needs the key 'upstream' | such as upstream: 127.0.0.1:8001")


def test_the_schema_and_the_reader_know_the_same_keys_of_a_route() -> None:
    properties = schema()["properties"]
    assert isinstance(properties, dict)
    route = properties["routes"]["items"]["properties"]
    assert tuple(route) == ROUTE_KEYS
    assert tuple(route["request"]["properties"]) == POINTER_KEYS
    assert tuple(route["on_failure"]["anyOf"][1]["properties"]) == FAILURE_KEYS
