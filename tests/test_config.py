"""The configuration: every problem at once, flags over environment over file."""

from pathlib import Path

import pytest

from guardproxy.config import Config, parse_config, schema
from guardproxy.config.keys import KEYS, NESTED_KEYS
from guardproxy.decision import FailureMode

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
        ("store_id", "sku"), FailureMode.OPEN, 10.0, 16 * 1024**2,
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
