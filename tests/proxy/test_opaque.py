"""Requests whose rows cannot be seen: the response is judged by what needs no features, or nothing goes on."""

import asyncio
import gzip
import json
from dataclasses import replace

import pytest

from guardproxy.config import Config
from guardproxy.service.answers import refusals
from guardproxy.stores import HoldFilter
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok
from tests.proxy.serving import PATH, ask, demand, infer, reasons, said, serving

JSON = b"Content-Type: application/json"
SHARED = json.dumps(
    {
        "inputs": [
            {
                "name": "x",
                "shape": [2],
                "datatype": "FP64",
                "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 16},
            }
        ]
    }
).encode()
RULES = """\
guardproxy: 1
model: demand
owner: ops
lists:
  forbidden: [555]
kpis:
  ratio: {expr: output.demand / features.x}
rules:
  - id: not-negative
    range: {field: output.demand, min: 0}
    action: fallback
    fallback: [previous, {expr: features.x}, {value: 5}]
  - id: below-capacity
    require: output.demand <= features.capacity
    action: reject
  - id: little-change
    max_change: {field: output.demand, against: previous, by: [features.store], up: 10%, down: 10%}
    action: reject
  - id: ratio-is-sane
    require: kpi.ratio < 10
    action: reject
  - id: excepted-in-shop
    forbid: output.demand == 777
    unless:
      - {id: own-shop, when: features.store == "s1", until: 2030-01-01, owner: ops, why: known}
    action: reject
  - id: batch-of-x
    scope: batch
    require: batch_mean(features.x) < 100
    action: reject
  - id: inside
    missing_share: {fields: features.*, max: 10%}
    action: reject
  - id: much
    require: output.demand < 1000
    action: hold
    hold: {meanwhile: fallback, sla: 1h}
    fallback: [previous, {value: 7}]
  - id: suspicious
    require: output.demand != 42
    action: warn
  - id: bad-version
    forbid: request.model_version == "bad"
    on_unknown: ignore
    action: reject
  - id: forbidden
    forbid: output.demand in lists.forbidden
    action: reject
    message: this number is forbidden
"""
READS_NO_FEATURE = {"not-negative", "much", "suspicious", "bad-version", "forbidden"}


def test_the_response_to_an_opaque_request_is_judged_by_the_rules_that_need_no_features() -> None:
    async def scenario() -> None:
        answer = demand([30.0, -1.0, 5000.0, 42.0, 777.0])
        async with (
            RecorderUpstream(ok(answer, JSON)) as upstream,
            serving(upstream.port, rules=RULES) as service,
        ):
            response = await ask(service, SHARED)
            assert upstream.requests[0].body == SHARED
            (held,) = (await service.store.list(HoldFilter())).holds
            record = service.plane.routes[0].journal.find(said(response, b"Decision") or "")
            windows = service.plane.routes[0].journal.windows
            verdicts = windows.totals().verdicts
            joined = windows.as_json(0.0)["windows"]["1h"]
            assert reasons(service) == {"opaque": 1}
            assert len(service.plane.routes[0].history) == 0
        assert response.body == answer.replace(b"-1.0", b"5.0").replace(b"5000.0", b"7.0")
        assert said(response, b"Rows") == "warned=1, replaced=1, held=1, unguarded=2"
        assert (said(response, b"Outcome"), said(response, b"Reason")) == ("unguarded", "opaque")
        assert (held.row, held.features, held.original) == (2, {}, {"demand": 5000.0})
        assert record is not None
        assert [row["outcome"] for row in record["rows"]] == [
            "unguarded",
            "replaced",
            "held",
            "warned",
            "unguarded",
        ]
        assert [row["features"] for row in record["rows"]] == [None] * 5
        told = {rule for rule, counts in verdicts.items() if any(v.name == "SKIPPED" for v in counts)}
        assert told.isdisjoint(READS_NO_FEATURE)
        assert told >= {
            "below-capacity",
            "little-change",
            "ratio-is-sane",
            "excepted-in-shop",
            "batch-of-x",
            "inside",
        }
        # Nothing is tallied of features that nobody saw.
        assert (set(joined["features"]), set(joined["outputs"])) == (set(), {"demand"})

    run(scenario())


@pytest.mark.parametrize("values", [[30.0], [30.0, 31.0], []])
def test_rows_that_no_rule_acts_on_are_unguarded_and_pass_byte_for_byte(values: list[float]) -> None:
    async def scenario() -> None:
        packed = gzip.compress(demand(values))
        async with (
            RecorderUpstream(ok(packed, JSON, b"Content-Encoding: gzip")) as upstream,
            serving(upstream.port, rules=RULES) as service,
        ):
            first = await ask(service, SHARED)
            again = await ask(service, SHARED)
        for response in (first, again):
            assert response.body == packed
            assert (said(response, b"Outcome"), said(response, b"Reason")) == ("unguarded", "opaque")
            assert said(response, b"Rows") == (f"unguarded={len(values)}" if values else None)

    run(scenario())


def test_rules_on_the_response_reject_an_opaque_exchange() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([1.0, 555.0]), JSON)) as upstream,
            serving(upstream.port, rules=RULES) as service,
        ):
            response = await ask(service, SHARED)
            assert reasons(service) == {"opaque": 1}
        assert response.status == 422
        assert json.loads(response.body) == {"error": "row 1: this number is forbidden"}
        assert said(response, b"Rows") == "rejected=1, unguarded=1"

    run(scenario())


def test_facts_of_the_request_are_judged_when_the_response_says_how_many_rows_there_are() -> None:
    async def scenario() -> None:
        path = "/v2/models/demand/versions/{version}/infer"
        async with (
            RecorderUpstream(ok(demand([1.0]), JSON)) as upstream,
            serving(upstream.port, rules=RULES, path=path) as service,
        ):
            good = await ask(service, SHARED, path=path.replace("{version}", "good"))
            bad = await ask(service, SHARED, path=path.replace("{version}", "bad"))
        assert (good.status, bad.status) == (200, 422)
        assert said(bad, b"Reason") == "opaque"

    run(scenario())


def test_a_closed_route_refuses_an_opaque_request() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([1.0]), JSON)) as upstream,
            serving(upstream.port, failure={"default": "open", "opaque": "closed"}) as service,
        ):
            response = await ask(service, SHARED)
            assert upstream.requests == []
            assert reasons(service) == {"opaque": 1}
        assert (response.status, said(response, b"Reason")) == (503, "opaque")

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ok(b"<html>", b"Content-Type: text/html"), "undecodable"),
        (ok(b"\x89PNG", b"Content-Type: image/png"), "opaque"),
        (ok(b"data: a\n\n", b"Content-Type: text/event-stream"), "streamed"),
        (ok(demand([1.0] * 200), JSON), "oversize"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "opaque"),
    ],
)
@pytest.mark.parametrize("mode", ["open", "closed"])
def test_a_response_that_cannot_be_judged_either_meets_the_policy_for_its_own_reason(
    answer: bytes, reason: str, mode: str
) -> None:
    async def scenario() -> None:
        policy = {"default": "open", reason: mode, "opaque": "open"}
        async with (
            RecorderUpstream(answer) as upstream,
            serving(upstream.port, failure=policy, max_body=500) as service,
        ):
            response = await ask(service, SHARED)
            assert reasons(service) == {reason: 1}
        passes = mode == "open" or reason == "opaque"
        assert said(response, b"Reason") == reason
        assert response.status in ({200, 204} if passes else {503})
        assert (response.body == answer.partition(b"\r\n\r\n")[2]) == passes

    run(scenario())


def test_an_opaque_exchange_leaves_no_past_and_no_recording(tmp_path) -> None:  # type: ignore[no-untyped-def]
    async def scenario() -> None:
        answers = iter([[40.0], [50.0], [-1.0]])

        async def answer(_request: Recorded, writer: asyncio.StreamWriter) -> None:
            writer.write(ok(demand(next(answers)), JSON))

        config = replace(Config(), record_dir=tmp_path / "traffic")
        async with RecorderUpstream(answer) as upstream, serving(upstream.port, config=config) as service:
            await ask(service, infer([1.0]))
            await ask(service, SHARED.replace(b"[2]", b"[1]"))
            response = await ask(service, infer([1.0]))
            recorder = service.built.recorder
            assert recorder is not None
        # The last good value is that of the exchange that could be seen.
        assert json.loads(response.body)["outputs"][0]["data"] == [40.0]

    run(scenario())


def test_a_fallback_for_an_opaque_request_must_fit_the_response_too() -> None:
    rules = """\
guardproxy: 1
model: demand
rules:
  - id: not-negative
    range: {field: output.demand, min: 0}
    action: fallback
    fallback: [{value: 1.5}, {value: 2}]
"""

    async def scenario() -> None:
        answer = demand([-1.0]).replace(b"-1.0", b"-1").replace(b"FP64", b"INT32")
        async with (
            RecorderUpstream(ok(answer, JSON)) as upstream,
            serving(upstream.port, rules=rules) as service,
        ):
            response = await ask(service, SHARED, path=PATH)
        assert response.body == answer.replace(b"-1", b"2")
        assert (said(response, b"Rows"), said(response, b"Reason")) == ("replaced=1", "opaque")

    run(scenario())


def test_a_reload_changes_what_is_judged_of_opaque_requests(tmp_path) -> None:  # type: ignore[no-untyped-def]
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(RULES)
        async with (
            RecorderUpstream(ok(demand([-1.0]), JSON)) as upstream,
            serving(upstream.port, folder=tmp_path) as service,
        ):
            before = await ask(service, SHARED)
            (tmp_path / "a.guard.yaml").write_text(RULES.replace("{value: 5}", "{value: 6}"))
            assert (await service.reload())[0]
            after = await ask(service, SHARED)
        assert (before.body, after.body) == (demand([5.0]), demand([6.0]))

    run(scenario())


def test_a_reviewer_overrides_a_row_without_features_by_what_can_be_judged() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([5000.0]), JSON)) as upstream,
            serving(upstream.port, rules=RULES) as service,
        ):
            await ask(service, SHARED)
            (held,) = (await service.store.list(HoldFilter())).holds
            # `below-capacity` and its like know nothing of such a row: they have no say, where they would refuse all.
            assert refusals(service, held, {"demand": 8.0}) == ()
            assert refusals(service, held, {"demand": 555.0}) == ("forbidden",)

    run(scenario())


def test_a_canary_that_acts_on_opaque_requests_counts_for_its_limit() -> None:
    rules = """\
guardproxy: 1
model: demand
rules:
  - id: always
    require: output.demand > 100
    mode: canary 100%
    action: hold
    hold: {meanwhile: original, sla: 1h}
"""

    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([1.0] * 300), JSON)) as upstream,
            serving(upstream.port, rules=rules) as service,
        ):
            first = await ask(service, SHARED)
            await until(service.built.breakers.tripped, "the breaker trips")
            second = await ask(service, SHARED)
        assert said(first, b"Rows") == "held=300"
        assert said(second, b"Rows") == "warned=300"

    run(scenario())
