"""Canaries, a candidate beside the active rules, the breaker and the recording, in a running proxy."""

import asyncio
import json
from pathlib import Path

from guardproxy.config import Config
from guardproxy.decision import Outcome
from guardproxy.guard.screen import judge_request, judge_response
from guardproxy.proxy.candidate import CPU_SHARE, MAX_ROWS, Comparison, Judged
from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.history import History
from guardproxy.proxy.standing import UNMET_AFTER
from guardproxy.recording import Skipped, read_recording
from guardproxy.rules import View
from guardproxy.service import Service
from guardproxy.table import table_from_records
from tests.guard.test_screen import make_guard
from tests.harness.loop import run, until
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import ask, demand, infer, said, serving
from tests.proxy.test_reload import JSON, STILL, admin, keeper_of, rules


def rule_file(*lines: str) -> str:
    body = "".join(f"  - {line}\n" for line in lines)
    return f"guardproxy: 1\nmodel: demand\nowner: ops\nrules:\n{body}"


HOLDS = "{id: too-much, require: output.demand < 100, action: hold, hold: {meanwhile: original}}"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def trip(service: Service, rows: int = 300) -> None:
    """Send rows that a rule holds until the breaker has had enough of it."""
    await ask(service, infer([1.0] * rows))
    await until(service.built.breakers.tripped, "the breaker trips")


def test_a_rule_that_holds_too_much_is_demoted_told_about_and_re_armed(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rule_file(HOLDS))
        clock, many = Clock(), ok(demand([500.0] * 300), JSON)
        async with (
            RecorderUpstream(many) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL, clock=clock) as service,
        ):
            first = await ask(service, infer([1.0] * 300))
            assert said(first, b"Outcome") == "held"
            await until(service.built.breakers.tripped, "the breaker trips")
            second = await ask(service, infer([1.0] * 300))
            assert said(second, b"Outcome") == "warned"
            decision = json.loads((await admin(service, f"/v1/decisions/{said(second, b'Decision')}"))[1])
            assert (decision["findings"][0]["action"], decision["findings"][0]["demoted"]) == ("warn", True)

            metrics = (await admin(service, "/metrics"))[1]
            assert 'guardproxy_breaker_tripped{model="demand",rule="too-much"} 1.0' in metrics
            assert 'guardproxy_breaker_trips_total{model="demand",rule="too-much"} 1.0' in metrics
            status, text = await admin(service, "/readyz")
            assert status == 200
            assert "too-much of demand has only warned" in json.loads(text)["degraded"][0]
            listed = json.loads((await admin(service, "/v1/rules"))[1])
            assert listed["breaker"][0]["share"] == 1.0
            assert next(r for r in listed["rules"] if r["rule"] == "too-much")["demoted"]["by"] == "rule"
            assert "only warns since" in (await admin(service, "/rules"))[1]

            status, _ = await admin(service, "/v1/rules/demand/too-much/rearm", "POST")
            assert status == 200
            assert service.plane.routes[0].breaker.demoted == frozenset()
            third = await ask(service, infer([1.0] * 300))
            assert said(third, b"Outcome") == "held"
            await until(service.built.breakers.tripped, "it trips again")
            assert (await admin(service, "/v1/rules/demand/predictions-finite/rearm", "POST"))[0] == 404

            upstream.answer = ok(demand([5.0] * 300), JSON)
            clock.now += 400
            assert said(await ask(service, infer([1.0] * 300)), b"Outcome") == "allowed"
            await until(lambda: not service.built.breakers.tripped(), "it acts again by itself")

    run(scenario())


def test_a_reload_keeps_a_demotion_unless_the_rule_changed(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "a.guard.yaml"
        path.write_text(rule_file(HOLDS))
        async with (
            RecorderUpstream(ok(demand([500.0] * 300), JSON)) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            await trip(service)
            path.write_text(rule_file(HOLDS, "{id: other, require: output.demand < 9e9}"))
            assert (await keeper_of(service).reload()).changed
            assert said(await ask(service, infer([1.0] * 300)), b"Outcome") == "warned"
            path.write_text("# a comment\n" + path.read_text())
            assert not (await keeper_of(service).reload()).changed
            assert said(await ask(service, infer([1.0] * 300)), b"Outcome") == "warned"
            path.write_text(rule_file(HOLDS.replace("100", "101")))
            assert (await keeper_of(service).reload()).changed
            assert said(await ask(service, infer([1.0] * 300)), b"Outcome") == "held"

    run(scenario())


def test_a_written_limit_holds_for_the_rule_it_is_written_at(tmp_path: Path) -> None:
    async def scenario() -> None:
        limited = HOLDS.replace("action:", "limits: {hold: 100% per 5m}, action:")
        body = rule_file(limited).replace("rules:\n", "limits: {hold: 100% per 5m}\nrules:\n")
        (tmp_path / "a.guard.yaml").write_text(body)
        async with (
            RecorderUpstream(ok(demand([500.0] * 300), JSON)) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            for _ in range(2):
                assert said(await ask(service, infer([1.0] * 300)), b"Outcome") == "held"
            service.plane.routes[0].journal.flush()
            service.built.breakers.look()
            assert service.built.breakers.tripped() == []

    run(scenario())


def test_a_retry_meets_the_same_canary_as_the_request_it_repeats(tmp_path: Path) -> None:
    async def scenario() -> None:
        canary = "{id: too-much, require: output.demand < 100, action: reject, mode: canary 50%}"
        (tmp_path / "a.guard.yaml").write_text(rule_file(canary))
        async with (
            RecorderUpstream(ok(demand([500.0]), JSON)) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            drawn = {}
            for number in range(40):
                key = b"Idempotency-Key: order-%d" % number
                first = said(await ask(service, infer([float(number)]), key), b"Outcome")
                # The retry may differ in its body: a timestamp, say.
                assert said(await ask(service, infer([number + 0.5]), key), b"Outcome") == first
                drawn[number] = first
            assert set(drawn.values()) == {"rejected", "allowed"}
            by_body = [said(await ask(service, infer([7.0])), b"Outcome") for _ in range(5)]
            assert len(set(by_body)) == 1

    run(scenario())


def test_a_canary_that_holds_half_of_the_traffic_is_demoted_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(
            rule_file(HOLDS.replace("action:", "mode: canary 50%, action:"))
        )
        async with (
            RecorderUpstream(ok(demand([500.0] * 30), JSON)) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            for number in range(40):
                await ask(service, infer([float(number)] * 30))
            await until(service.built.breakers.tripped, "the breaker trips")
            (state,) = service.built.breakers.tripped()
            assert 0.2 < state["share"] < 0.9

    run(scenario())


def test_a_candidate_is_compared_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        active, candidate = tmp_path / "rules", tmp_path / "next"
        for folder, file in ((active, rules(5)), (candidate, rule_file(HOLDS.replace("100", "3")))):
            folder.mkdir()
            (folder / "a.guard.yaml").write_text(file)
        config = Config(reload_every_s=3600.0, rules_candidate=candidate)
        async with (
            RecorderUpstream(ok(demand([-1.0, 2.0, 8.0]), JSON)) as upstream,
            serving(upstream.port, folder=active, config=config) as service,
        ):
            response = await ask(service, infer([1.0, 2.0, 3.0]))
            assert said(response, b"Outcome") == "replaced"
            assert service.keeper.stored == 0
            route = service.plane.routes[0]
            (said_of,) = json.loads((await admin(service, "/v1/rules"))[1])["candidate"]["models"]
            assert said_of["rules"] == [
                {"rule": "not-negative", "added": 0, "removed": 1, "unknown": 0, "errors": 0},
                {"rule": "too-much", "added": 1, "removed": 0, "unknown": 0, "errors": 0},
            ]
            assert said_of["differing"] == 2
            metrics = (await admin(service, "/metrics"))[1]
            assert (
                'guardproxy_candidate_rows_total{active="allowed",candidate="held",model="demand"} 1.0'
                in metrics
            )
            assert 'guardproxy_rules_reload_ok{rules="rules_candidate"} 1.0' in metrics

            (candidate / "a.guard.yaml").write_text("rules: [")
            assert service.built.candidate is not None
            assert not (await service.built.candidate.reload()).ok
            assert keeper_of(service).ok
            await ask(service, infer([1.0, 2.0, 3.0]))
            assert route.comparison.exchanges == 2
            (candidate / "a.guard.yaml").write_text(rule_file(HOLDS))
            assert (await service.built.candidate.reload()).changed
            assert (route.comparison.exchanges, route.comparison.added) == (0, {})
            await ask(service, infer([1.0, 2.0, 3.0]))
            assert route.comparison.exchanges == 1

    run(scenario())


def test_a_rule_that_the_breaker_took_down_is_no_difference_of_a_candidate_that_has_it_too(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        active, candidate = tmp_path / "rules", tmp_path / "next"
        for folder in (active, candidate):
            folder.mkdir()
            (folder / "a.guard.yaml").write_text(rule_file(HOLDS))
        config = Config(reload_every_s=3600.0, rules_candidate=candidate)
        async with (
            RecorderUpstream(ok(demand([500.0] * 300), JSON)) as upstream,
            serving(upstream.port, folder=active, config=config) as service,
        ):
            await trip(service)
            comparison = service.plane.routes[0].comparison
            assert said(await ask(service, infer([1.0] * 300)), b"Outcome") == "warned"
            assert comparison.pairs == {
                (Outcome.HELD, Outcome.HELD): 300,
                (Outcome.WARNED, Outcome.WARNED): 300,
            }

            # What another limit of the rule would do is what one wants to know.
            (candidate / "a.guard.yaml").write_text(rule_file(HOLDS.replace("100", "101")))
            assert service.built.candidate is not None
            assert (await service.built.candidate.reload()).changed
            await ask(service, infer([1.0] * 300))
            assert comparison.pairs == {(Outcome.WARNED, Outcome.HELD): 300}

    run(scenario())


def test_a_candidate_that_is_broken_at_the_start_hurts_nobody_and_is_read_once_it_is_mended(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        active, candidate = tmp_path / "rules", tmp_path / "next"
        active.mkdir()
        candidate.mkdir()
        (active / "a.guard.yaml").write_text(rules(5))
        (candidate / "a.guard.yaml").write_text("rules: [")
        config = Config(reload_every_s=0.02, reload_debounce_s=0.02, rules_candidate=candidate)
        async with (
            RecorderUpstream(ok(demand([-1.0]), JSON)) as upstream,
            serving(upstream.port, folder=active, config=config) as service,
        ):
            assert said(await ask(service, infer([1.0])), b"Outcome") == "replaced"
            assert "none is compared" in json.loads((await admin(service, "/readyz"))[1])["degraded"][0]
            (candidate / "a.guard.yaml").write_text(rules(5))
            await until(lambda: service.plane.routes[0].served.candidate, "the candidate is read")
            await ask(service, infer([1.0]))
            assert service.plane.routes[0].comparison.as_json()["differing"] == 0

    run(scenario())


def judged(active: str, x: float = 1.0, y: float = 5.0, rows: int = 1, *, answered: bool = True) -> Judged:
    guard = make_guard(active)
    features = table_from_records([{"x": x}] * rows)
    predictions = table_from_records([{"prediction": y}] * rows)
    view = View(features, None, facts_at(0.0), lambda _by, _row: None)
    verdicts, refusal = judge_request(guard, view)
    decision = refusal or judge_response(guard, view._replace(output=predictions), verdicts)
    return Judged(features, predictions if answered else None, facts_at(0.0), History(()), b"id", decision)


ALLOWS = "  - {id: r, require: output.prediction > 0}\n"
REJECTS = "  - {id: r, require: features.x > 5, action: reject}\n"


def test_an_exchange_whose_model_was_never_asked_is_not_compared_unless_both_refuse() -> None:
    comparison = Comparison()
    comparison.compare(make_guard(ALLOWS), judged(REJECTS, answered=False))
    assert comparison.skipped == {"unanswered": 1}
    comparison.compare(make_guard(REJECTS), judged(REJECTS, answered=False))
    comparison.compare(make_guard(REJECTS), judged(ALLOWS))
    assert [(p["active"], p["candidate"]) for p in comparison.as_json()["rows"]] == [
        ("allowed", "rejected"),
        ("rejected", "rejected"),
    ]


def test_comparing_takes_no_more_than_its_share_of_the_processor() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.005
        return now[0]

    comparison = Comparison(clock=clock)
    candidate, one = make_guard(ALLOWS), judged(ALLOWS)
    for _ in range(2_000):
        comparison.compare(candidate, one)
    spent = comparison.exchanges * 0.005
    assert comparison.skipped["busy"] > 0
    assert spent <= now[0] * CPU_SHARE + 0.2


def test_a_sample_of_exchanges_is_compared_and_huge_ones_never_are() -> None:
    comparison = Comparison(sample=0.3)
    candidate, one = make_guard(ALLOWS), judged(ALLOWS)
    for number in range(400):
        comparison.compare(candidate, one._replace(identity=b"%d" % number))
    assert 60 < 400 - comparison.skipped["sample"] < 180
    whole = Comparison()
    whole.compare(candidate, judged(ALLOWS, rows=MAX_ROWS + 1))
    assert whole.skipped == {"large": 1}


def test_rules_of_the_candidate_that_have_no_answer_are_counted_by_rule() -> None:
    comparison = Comparison()
    rules = "  - {id: u, require: features.gone > 0, on_unknown: ignore}\n  - {id: e, require: 'lower(features.x) == \"a\"'}\n"
    for y in (4.0, 5.0):
        comparison.compare(make_guard(rules), judged(ALLOWS, y=y))
    assert comparison.as_json()["rules"] == [
        {"rule": "e", "added": 0, "removed": 0, "unknown": 0, "errors": 2},
        {"rule": "u", "added": 0, "removed": 0, "unknown": 2, "errors": 0},
    ]


def test_a_fault_of_the_candidate_is_counted_and_goes_no_further() -> None:
    comparison = Comparison()
    candidate = make_guard(ALLOWS)
    candidate.ruleset = None  # type: ignore[assignment]
    comparison.compare(candidate, judged(ALLOWS))
    assert (comparison.faults, comparison.exchanges) == (1, 0)


def test_what_passes_is_recorded_without_the_fields_to_redact(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = Config(
            record_dir=tmp_path / "traffic", record_redact=("features.store",), reload_every_s=3600.0
        )
        body = rules(5).replace("[{value: 5}]", "[previous, {value: 5}]")
        async with (
            RecorderUpstream(ok(demand([40.0]), JSON)) as upstream,
            serving(upstream.port, rules=body, config=config) as service,
        ):
            await ask(service, infer([1.0], "secret-store"))
            upstream.answer = ok(demand([-1.0]), JSON)
            response = await ask(service, infer([2.0], "secret-store"))
            decision = said(response, b"Decision")
            standing = json.loads((await admin(service, "/v1/rules"))[1])["recording"]
            assert (standing["ok"], standing["offered"]) == (True, 2)
            metrics = (await admin(service, "/metrics"))[1]
            assert "guardproxy_recording_offered_total 2.0" in metrics
            assert "guardproxy_recording_written_bytes_total 0.0" in metrics, "no minute is over"
        records = list(read_recording([tmp_path / "traffic"], skipped=Skipped()))
        assert [record.outcomes for record in records] == [("allowed",), ("replaced",)]
        last = records[-1]
        assert last.id == decision
        assert last.violated == {"not-negative": (0,)}
        assert last.features.record(0) == {"x": 2.0, "store": None}
        assert list(last.previous.values()) == [({"demand": 40.0},)]
        assert last.redacted == ("features.store",)
        assert last.identity
        assert b"secret" not in b"".join(path.read_bytes() for path in (tmp_path / "traffic").rglob("*.gz"))

    run(scenario())


def test_a_name_to_redact_that_no_exchange_has_is_told_before_much_is_recorded_in_the_clear(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        config = Config(record_dir=tmp_path, record_redact=("features.stoer",), reload_every_s=3600.0)
        async with (
            RecorderUpstream(ok(demand([40.0]), JSON)) as upstream,
            serving(upstream.port, rules=rules(5), config=config) as service,
        ):
            for _ in range(UNMET_AFTER - 1):
                await ask(service, infer([1.0]))
            assert json.loads((await admin(service, "/readyz"))[1])["degraded"] == []
            await ask(service, infer([1.0]))
            (told,) = json.loads((await admin(service, "/readyz"))[1])["degraded"]
            assert told == "No recorded exchange had what is to be redacted: features.stoer."

    run(scenario())


def test_metrics_of_every_model_come_out_whole_while_rules_are_swapped(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(ok(demand([-1.0]), JSON)) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            for turn in range(5):
                (tmp_path / "a.guard.yaml").write_text(rules(turn))
                report, (status, text) = await asyncio.gather(
                    keeper_of(service).reload(), admin(service, "/metrics")
                )
                assert (report.ok, status) == (True, 200)
                assert text.count("guardproxy_rules_loaded_info{") == 1

    run(scenario())
