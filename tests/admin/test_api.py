"""The JSON API: what a program sends and gets, and the sentence when it is wrong."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from guardproxy.admin import Alert
from guardproxy.admin.openapi import document
from guardproxy.holds import State
from tests.admin.served import SECRETS, Answer, Served, serve
from tests.holds.samples import SLA_S, START, make_hold

HOLD = "/v1/holds/hld_000001"


def decide(
    served: Served,
    body: dict[str, Any],
    *,
    rev: str | None = '"1"',
    who: str = "reviewer-a",
    path: str = HOLD,
) -> Answer:
    """Send a decision."""
    headers = {} if rev is None else {"If-Match": rev}
    return served.call("POST", f"{path}/decision", who, headers=headers, body=body)


def test_listing_gives_summaries_counts_and_a_cursor(served: Served) -> None:
    answer = served.call("GET", "/v1/holds?limit=2&state=open", "viewer-a").json
    assert [hold["id"] for hold in answer["holds"]] == ["hld_000001", "hld_000002"]
    assert answer["counts"]["open"] == 3
    assert set(answer["counts"]) == set(State)
    more = served.call("GET", f"/v1/holds?limit=2&state=open&cursor={answer['cursor']}", "viewer-a").json
    assert [hold["id"] for hold in more["holds"]] == ["hld_000003"]
    assert more["cursor"] is None
    assert answer["holds"][0]["message"] == "Demand of 18,450 hires is 21 times the learned maximum of 868."
    assert answer["holds"][0]["created_at"] == "2026-05-28T20:26:40.000Z"


def test_listing_narrows_by_state_queue_and_model(served: Served) -> None:
    decide(served, {"decision": "approve"})
    assert len(served.call("GET", "/v1/holds?state=deciding", "viewer-a").json["holds"]) == 1
    assert len(served.call("GET", "/v1/holds?state=open,deciding", "viewer-a").json["holds"]) == 3
    assert len(served.call("GET", "/v1/holds?state=open&state=deciding", "viewer-a").json["holds"]) == 3
    assert served.call("GET", "/v1/holds?queue=other", "viewer-a").json["counts"]["open"] == 0
    assert served.call("GET", "/v1/holds?model=other", "viewer-a").json["holds"] == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1000000000", "limit=x", "limit=%D9%A3", "limit=-1", "cursor=garbage", "state=lost", "order=__class__", "sort=x", "queue=" + "a" * 300],
)  # fmt: skip
def test_a_wrong_parameter_is_400_with_a_sentence(served: Served, query: str) -> None:
    answer = served.call("GET", f"/v1/holds?{query}", "viewer-a")
    assert answer.status == 400
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json["detail"]


def test_a_hold_shows_why_it_was_held_and_what_may_be_done(served: Served) -> None:
    answer = served.call("GET", HOLD, "reviewer-a")
    hold = answer.json
    assert answer.headers["ETag"] == '"1"'
    assert hold["output"]["original"] == {"demand": 18450.0}
    assert hold["output"]["provisional"] == {"demand": 214.0}
    assert hold["output"]["candidates"][2]["refused_by"] == ["demand-is-plausible"]
    assert hold["findings"][0]["measured"] == {"output.demand": 18450.0}
    assert hold["findings"][0]["bound_source"] == "profile bike-hour 2011"
    assert hold["bands"][0]["outside"] is True
    assert hold["features"]["station"] == 9007199254740993
    assert hold["actions"] == ["approve", "override", "reject"]
    assert "unit_error" in hold["reasons"]["override"]
    assert served.call("GET", HOLD, "viewer-a").json["actions"] == []


@pytest.mark.parametrize(
    "hold_id", ["x", "1%3BDROP", "*", "..%2f", "a" * 5000, "%D9%A3", "%F0%9F%98%80", "%00"]
)
def test_an_unknown_id_is_404(served: Served, hold_id: str) -> None:
    assert served.call("GET", f"/v1/holds/{hold_id}", "viewer-a").status == 404
    assert served.call("GET", f"/v1/holds/{hold_id}/events", "viewer-a").status == 404
    assert decide(served, {"decision": "approve"}, path=f"/v1/holds/{hold_id}").status == 404
    assert served.call("GET", f"/v1/decisions/{hold_id}", "viewer-a").status == 404


@pytest.mark.parametrize(
    ("body", "state", "final"),
    [
        ({"decision": "approve"}, "approved", {"demand": 18450.0}),
        (
            {"decision": "override", "values": {"demand": 300}, "reason": "unit_error"},
            "overridden",
            {"demand": 300},
        ),
        ({"decision": "reject", "reason": "other", "note": "no"}, "rejected", {"demand": 214.0}),
    ],
)
def test_a_decision_can_be_undone_until_it_is_in_effect(
    served: Served, body: dict[str, Any], state: str, final: dict[str, Any]
) -> None:
    answer = decide(served, body)
    assert answer.status == 200
    assert answer.json == {
        "id": "hld_000001",
        "rev": 2,
        "state": "deciding",
        "undo_until": "2026-05-28T20:27:50.000Z",
    }
    assert answer.headers["ETag"] == '"2"'
    waiting = served.call("GET", HOLD, "reviewer-a").json
    assert (waiting["resolution"], waiting["output"]["final"], waiting["actions"]) == (state, None, ["undo"])
    assert served.call("POST", f"{HOLD}/undo", "reviewer-b").status == 409
    undone = served.call("POST", f"{HOLD}/undo", "reviewer-a", headers={"If-Match": "2"})
    assert (undone.status, undone.json["state"], undone.json["rev"]) == (200, "open", 3)
    assert decide(served, body, rev="3").status == 200
    served.at += 10
    assert served.call("POST", f"{HOLD}/undo", "reviewer-a").status == 409
    assert len(served.run(_sweep(served))) == 1
    settled = served.call("GET", HOLD, "viewer-a").json
    assert (settled["state"], settled["output"]["final"], settled["by"]) == (state, final, "reviewer-a")
    events = served.call("GET", f"{HOLD}/events", "viewer-a").json["events"]
    assert [event["event"] for event in events] == [
        "create",
        body["decision"],
        "undo",
        body["decision"],
        "commit",
    ]
    assert [hold.state for hold in served.changed] == ["deciding", "open", "deciding"]


async def _sweep(served: Served) -> list[Any]:
    from guardproxy.stores import sweep

    return await sweep(served.store, served.at, 10)


def test_a_decision_names_the_revision_it_was_made_on(served: Served) -> None:
    assert decide(served, {"decision": "approve"}, rev=None).status == 428
    for rev in ("x", "*", "", '"1', '1"', "-1", "1.0", "%D9%A1", "9" * 30):
        assert decide(served, {"decision": "approve"}, rev=rev).status == 400
    stale = decide(served, {"decision": "approve"}, rev="7", path="/v1/holds/hld_000002")
    assert stale.status == 412
    assert (stale.json["rev"], stale.json["state"]) == (1, "open")
    assert decide(served, {"decision": "approve"}, rev='W/"1"', path="/v1/holds/hld_000003").status == 200


def test_of_two_reviewers_the_second_hears_who_was_first(served: Served) -> None:
    assert decide(served, {"decision": "approve"}).status == 200
    second = decide(served, {"decision": "reject", "reason": "other"}, who="reviewer-b")
    assert second.status == 412
    assert second.json["detail"].startswith("already decided: approved by reviewer-a")
    assert second.json["decided_by"] == "reviewer-a"
    wrong_state = decide(served, {"decision": "reject", "reason": "other"}, who="reviewer-b", rev="2")
    assert wrong_state.status == 409
    assert "already decided" in wrong_state.json["detail"]


def test_of_many_reviewers_at_the_same_moment_exactly_one_wins(served: Served) -> None:
    async def race() -> list[int]:
        import aiohttp

        async def one(client: aiohttp.ClientSession, number: int) -> int:
            who = ["reviewer-a", "reviewer-b"][number % 2]
            headers = {"Authorization": f"Bearer {SECRETS[who]}", "If-Match": "1"}
            url = f"{served.url}{HOLD}/decision"
            async with client.post(url, json={"decision": "approve"}, headers=headers) as response:
                return response.status

        async with aiohttp.ClientSession() as client:
            return await asyncio.gather(*(one(client, number) for number in range(20)))

    statuses = asyncio.run(race())
    assert sorted(statuses) == [200] + [412] * 19
    assert len(served.call("GET", f"{HOLD}/events", "viewer-a").json["events"]) == 2


def test_a_decision_after_the_expiry_hears_that_it_came_too_late(served: Served) -> None:
    served.at = START + SLA_S
    served.run(_sweep(served))
    late = decide(served, {"decision": "approve"})
    assert late.status == 412
    assert "expired before your decision came" in late.json["detail"]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "`decision` must be one of"),
        ({"decision": "aprove"}, "`decision` must be one of"),
        ({"decision": 3}, "`decision` must be text"),
        ({"decision": "reject"}, "`reason` must be one of"),
        ({"decision": "reject", "reason": "because"}, "`reason` must be one of"),
        ({"decision": "override", "reason": "other"}, "at least one value"),
        ({"decision": "override", "reason": "other", "values": []}, "must be an object"),
        ({"decision": "override", "reason": "other", "values": {"demand": {}}}, "must be a number, text"),
        ({"decision": "override", "reason": "other", "values": {"demand": ["a"]}}, "must be a number, text"),
        ({"decision": "override", "reason": "other", "values": {"demand": "3"}}, "finite number"),
        ({"decision": "override", "reason": "other", "values": {"demand": None}}, "finite number"),
        ({"decision": "override", "reason": "other", "values": {"demnd": 3}}, "not a prediction"),
        (
            {"decision": "override", "reason": "other", "values": {"demand": 978}},
            "violates demand-is-plausible",
        ),
        ({"decision": "approve", "note": "x" * 2001}, "`note` may have at most"),
        ({"decision": "approve", "note": ["x"]}, "`note` must be text"),
        ({"decision": "approve", "force": "yes"}, "`force` must be true or false"),
        ({"decision": "approve", "extra": 1}, "unknown key 'extra'"),
    ],
)
def test_a_wrong_decision_is_422_with_a_sentence_and_changes_nothing(
    served: Served, body: dict[str, Any], part: str
) -> None:
    answer = decide(served, body)
    assert answer.status == 422
    assert part in answer.json["detail"]
    assert served.call("GET", HOLD, "viewer-a").json["rev"] == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', '{"decision": NaN}', '{"a":' * 5000, '{"decision": "override", "values": {"demand": Infinity}}', b"\xff"],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_400(served: Served, text: str | bytes) -> None:
    headers = {"If-Match": "1", "Content-Type": "application/json"}
    assert served.call("POST", f"{HOLD}/decision", "reviewer-a", headers=headers, body=text).status == 400


def test_a_number_too_large_for_a_float_is_422_and_a_body_too_large_is_413(served: Served) -> None:
    headers = {"If-Match": "1", "Content-Type": "application/json"}
    huge = '{"decision": "override", "reason": "other", "values": {"demand": 1e400}}'
    assert served.call("POST", f"{HOLD}/decision", "reviewer-a", headers=headers, body=huge).status == 422
    assert (
        served.call("POST", f"{HOLD}/decision", "reviewer-a", headers=headers, body="x" * 300_000).status
        == 413
    )
    headers["Content-Type"] = "text/plain"
    assert served.call("POST", f"{HOLD}/decision", "reviewer-a", headers=headers, body="{}").status == 415


def test_only_an_operator_may_force_a_value_that_a_rule_speaks_against(served: Served) -> None:
    body = {"decision": "override", "reason": "policy", "values": {"demand": 5000}, "force": True}
    assert decide(served, body).status == 403
    refused = decide(served, {**body, "force": False}, who="operator-a")
    assert (refused.status, refused.json["violated"]) == (422, ["demand-is-plausible"])
    assert decide(served, body, who="operator-a").status == 200
    events = served.call("GET", f"{HOLD}/events", "viewer-a").json["events"]
    assert events[1]["reason"] == "policy (forced)"


def test_health_says_why_it_is_not_ready(served: Served) -> None:
    assert served.call("GET", "/livez").json == {"live": True}
    assert served.call("GET", "/readyz").json == {"ready": True, "reasons": [], "degraded": []}
    served.ready, served.live = (False, ["draining"]), False
    answer = served.call("GET", "/readyz")
    assert (answer.status, answer.json["reasons"]) == (503, ["draining"])
    assert served.call("GET", "/livez").status == 503
    metrics = served.call("GET", "/metrics")
    assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert metrics.body == b"guardproxy_requests_total 1\n"


def test_what_is_degraded_is_told_but_traffic_still_comes(served: Served) -> None:
    served.alerts.append(Alert("bad", "The rule files are refused."))
    answer = served.call("GET", "/readyz")
    assert answer.status == 200
    assert answer.json == {"ready": True, "reasons": [], "degraded": ["The rule files are refused."]}


def test_a_reload_that_succeeds_says_what_is_served_now(served: Served) -> None:
    answer = served.call("POST", "/v1/rules/reload", "operator-a")
    assert answer.status == 200
    assert answer.json["ruleset"] == {"bike-demand": "9f2c41d0aa73"}
    assert answer.json["changed"] is True


def test_a_reload_that_is_refused_carries_the_whole_diagnosis(served: Served) -> None:
    problem = {"code": "E106", "severity": "error", "file": "a.guard.yaml", "line": 3, "column": 5, "message": "no", "help": ""}  # fmt: skip
    served.reload = (
        False,
        {**served.reload[1], "ok": False, "problems": [problem], "text": "error[E106]: no"},
    )
    answer = served.call("POST", "/v1/rules/reload", "operator-a")
    assert answer.status == 422
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json["problems"] == [problem]
    assert answer.json["text"] == "error[E106]: no"
    assert "served on" in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("bike-demand/demand-is-plausible", 200),
        ("bike-demand/humidity-was-learned", 409),
        ("bike-demand/no-such-rule", 404),
        ("no-such-model/demand-is-plausible", 404),
        ("%2e%2e/%00", 404),
    ],
)
def test_only_a_demoted_rule_can_be_let_act_again(served: Served, path: str, status: int) -> None:
    answer = served.call("POST", f"/v1/rules/{path}/rearm", "operator-a")
    assert answer.status == status
    assert served.rearmed == ([("bike-demand", "demand-is-plausible", "operator-a")] if status == 200 else [])


def test_rules_carry_how_they_are_rolled_out(served: Served) -> None:
    answer = served.call("GET", "/v1/rules", "viewer-a").json
    assert answer["reload"]["ok"] is True
    assert answer["candidate"]["models"][0]["rules"] == [
        {"rule": "demand-is-plausible", "added": 3, "removed": 1, "unknown": 0, "errors": 2}
    ]
    assert answer["breaker"][0]["rule"] == "demand-is-plausible"


def test_rules_windows_and_decisions_are_passed_on(served: Served) -> None:
    assert served.call("GET", "/v1/rules", "viewer-a").json["rules"][0]["rule"] == "demand-is-plausible"
    assert served.call("GET", "/v1/windows", "viewer-a").json["models"][0]["model"] == "bike-demand"
    assert served.call("GET", "/v1/decisions/dec_0001", "viewer-a").json == {"id": "dec_0001"}
    routes = served.call("GET", "/v1/routes", "viewer-a").json
    assert routes["routes"][0]["protocol"] == "open-inference"
    assert routes["unguarded"] == {"undecodable": 2, "fault": 1}
    assert routes["grpc"]["calls"] == {"guarded": 12, "streamed": 3}


def test_drift_is_told_of_all_models_or_of_one(served: Served) -> None:
    every = served.call("GET", "/v1/drift", "viewer-a").json
    assert [said["model"] for said in every["models"]] == ["bike-demand", "other"]
    one = served.call("GET", "/v1/drift?model=bike-demand", "viewer-a").json
    assert one["models"] == every["models"][:1]
    assert one["models"][0]["alarm"]["raised_at"] == "2026-05-28T20:26:00Z"
    answer = served.call("GET", "/v1/drift?model=nobody", "viewer-a")
    assert (answer.status, answer.json["detail"]) == (404, "no such model is guarded here")
    assert served.call("GET", "/v1/drift", None).status == 401


def test_a_store_that_is_gone_is_503_with_retry_after_and_no_traceback(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.run(served.store.close())
        answer = served.call("GET", "/v1/holds", "viewer-a")
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        page = served.call("GET", "/", "viewer-a")
        assert page.status == 503
        assert "Traceback" not in answer.text + page.text


def test_a_fault_of_ours_is_500_and_says_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise RuntimeError("the secret of row 3")

    object.__setattr__(served.services, "rules", broken)
    for path in ("/v1/rules", "/rules"):
        answer = served.call("GET", path, "viewer-a")
        assert answer.status == 500
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text


def test_unknown_addresses_and_methods_are_problems(served: Served) -> None:
    for method, path, status in [
        ("GET", "/v1/nowhere", 404),
        ("DELETE", "/v1/holds", 405),
        ("PUT", "/", 405),
    ]:
        answer = served.call(method, path, "operator-a")
        assert answer.status == status
        assert answer.json["status"] == status
    assert served.call("DELETE", "/v1/holds", "operator-a").headers["Allow"] == "GET,HEAD"
    page = served.call("GET", "/nowhere", headers={"Accept": "text/html"})
    assert page.status == 404
    assert page.headers["Content-Type"].startswith("text/html")


def test_hostile_numbers_stay_valid_json(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        hold = make_hold(
            1, original={"y": float("nan"), "z": float("-inf")}, features={"a\ud800\x1b[2J": "\u202e"}
        )
        served.run(served.store.add([hold]))
        answer = served.call("GET", HOLD, "viewer-a")
        assert answer.json["output"]["original"] == {"y": {"float": "nan"}, "z": {"float": "-inf"}}
        assert answer.body.isascii()
        assert b"\x1b" not in answer.body


SEND: dict[str, dict[str, Any]] = {
    "decide": {"headers": {"If-Match": "1"}, "body": {"decision": "approve"}},
    "undo": {},
}


def test_the_description_is_true_for_every_operation(served: Served) -> None:
    described = served.call("GET", "/v1/openapi.json").json
    assert described == document()
    assert described["openapi"] == "3.1.0"
    walked = 0
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            walked += 1
            concrete = path.replace("{id}", "dec_0001" if "decisions" in path else "hld_000001")
            concrete = concrete.replace("{model}", "bike-demand").replace("{rule}", "demand-is-plausible")
            needed = set(re.findall(r"{(\w+)}", path))
            assert needed == {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            sent = SEND.get(operation["operationId"], {})
            anonymous = served.call(method.upper(), concrete, **sent)
            assert (anonymous.status == 401) == ("security" in operation)
            assert str(anonymous.status) in operation["responses"]
            who = "operator-a" if operation.get("x-role") == "operator" else "reviewer-a"
            answer = served.call(method.upper(), concrete, who, **sent)
            assert answer.status == 200, (path, answer.text)
            content = operation["responses"]["200"]["content"]
            (kind,) = content
            assert answer.headers["Content-Type"].startswith(kind)
            if kind == "application/json":
                assert set(content[kind]["schema"].get("required", ())) <= set(answer.json)
    assert walked == 17
