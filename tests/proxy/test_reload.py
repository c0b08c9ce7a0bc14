"""Rule files that change under a running proxy: what is served, what is refused, and what everybody is told."""

import asyncio
import json
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from guardproxy.config import Config
from guardproxy.proxy.reload import MAX_TOLD, RuleKeeper
from guardproxy.proxy.rule_tests import failing_tests
from guardproxy.rules import load_rulesets
from guardproxy.service import Service
from guardproxy.source import Problem, lines_of, render_all
from tests.harness.client import RawClient
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok
from tests.proxy.serving import ask, demand, infer, port_of, request, said, serving

QUICK = Config(reload_every_s=0.02, reload_debounce_s=0.02)
STILL = Config(reload_every_s=3600.0)
NEGATIVE = ok(demand([-1.0]), b"Content-Type: application/json")
JSON = b"Content-Type: application/json"


def rules(value: float, *, more: str = "") -> str:
    """Rules that put `value` in the place of a negative prediction: an answer shows which set judged it."""
    return (
        "guardproxy: 1\nmodel: demand\nowner: ops\nrules:\n"
        "  - id: not-negative\n    range: {field: output.demand, min: 0}\n"
        f"    action: fallback\n    fallback: [{{value: {value}}}]\n{more}"
    )


def served_value(body: bytes) -> float:
    return float(json.loads(body)["outputs"][0]["data"][0])


def keeper_of(service: Service) -> RuleKeeper:
    assert service.built.rules is not None
    return service.built.rules


async def admin(service: Service, path: str, method: str = "GET") -> tuple[int, str]:
    """Call the admin plane as a program would."""

    def fetch() -> tuple[int, str]:
        call = urllib.request.Request(f"http://127.0.0.1:{service.admin_port}{path}", method=method)
        if method == "POST":
            call.add_header("Content-Type", "application/json")
            call.data = b"{}"
        try:
            with urllib.request.urlopen(call, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


def test_a_changed_file_is_served_without_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=QUICK) as service,
        ):
            first = await ask(service, infer([1.0]))
            assert served_value(first.body) == 5
            (tmp_path / "a.guard.yaml").write_text(rules(6))
            await until(lambda: keeper_of(service).results["changed"], "the change is read")
            second = await ask(service, infer([1.0]))
            assert served_value(second.body) == 6
            assert said(first, b"Ruleset") != said(second, b"Ruleset")
            assert said(second, b"Ruleset") == keeper_of(service).rulesets["demand"]

    run(scenario())


def test_a_new_file_a_removed_one_and_a_comment_are_seen(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        (tmp_path / "deep" / "er").mkdir(parents=True)
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=QUICK) as service,
        ):
            keeper = keeper_of(service)
            more = "guardproxy: 1\nmodel: demand\nowner: ops\nrules:\n  - {id: more, require: output.demand < 9e9}\n"
            (tmp_path / "deep" / "er" / "b.guard.yaml").write_text(more)
            await until(lambda: keeper.results["changed"] == 1, "the new file is read")
            assert service.plane.routes[0].guard.ruleset.rule("more") is not None
            (tmp_path / "deep" / "er" / "b.guard.yaml").unlink()
            await until(lambda: keeper.results["changed"] == 2, "the removal is read")
            assert service.plane.routes[0].guard.ruleset.rule("more") is None
            before = said(await ask(service, infer([1.0])), b"Ruleset")
            (tmp_path / "a.guard.yaml").write_text("# why\n" + rules(5))
            await until(lambda: keeper.results["same"], "the comment is read")
            assert keeper.results["changed"] == 2
            assert said(await ask(service, infer([1.0])), b"Ruleset") == before
            rule = service.plane.routes[0].guard.ruleset.rule("not-negative")
            assert rule is not None
            assert rule.place.line == 6
            served = service.plane.routes[0].served
            await keeper.reload()
            assert service.plane.routes[0].served is served

    run(scenario())


def test_a_broken_file_changes_nothing_but_what_everybody_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "a.guard.yaml"
        path.write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=QUICK) as service,
        ):
            good = said(await ask(service, infer([1.0])), b"Ruleset")
            path.write_text(rules(6).replace("range:", "rnage:"))
            await until(lambda: not keeper_of(service).ok, "the file is refused")
            after = await ask(service, infer([1.0]))
            assert (served_value(after.body), said(after, b"Ruleset")) == (5, good)

            status, text = await admin(service, "/readyz")
            assert (status, json.loads(text)["ready"]) == (200, True)
            assert "refused" in json.loads(text)["degraded"][0]
            standing = json.loads((await admin(service, "/v1/rules"))[1])["reload"]
            assert (standing["ok"], standing["source"]) == (False, "files")
            assert standing["problems"][0]["line"] == 6
            assert "did you mean 'range'?" in standing["text"]
            metrics = (await admin(service, "/metrics"))[1]
            assert 'guardproxy_rules_reload_ok{rules="rules"} 0.0' in metrics
            assert 'guardproxy_rules_reloads_total{result="failed",rules="rules"} 1.0' in metrics
            assert (
                f'guardproxy_rules_loaded_info{{model="demand",rules="rules",ruleset="{good}"}} 1.0'
                in metrics
            )
            page = (await admin(service, "/"))[1]
            assert "The rule files are refused" in page
            assert "a.guard.yaml:6" in page

            path.write_text(rules(7))
            await until(lambda: keeper_of(service).ok, "the mended file is read")
            assert served_value((await ask(service, infer([1.0]))).body) == 7
            assert json.loads((await admin(service, "/readyz"))[1])["degraded"] == []

    run(scenario())


def test_an_operator_who_asks_gets_the_whole_diagnosis(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "a.guard.yaml"
        path.write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            status, text = await admin(service, "/v1/rules/reload", "POST")
            assert (status, json.loads(text)["changed"]) == (200, False)
            path.write_text(
                rules(6, more="  - {id: two, require: output.demand <}\n  - {id: three, requier: 1}\n")
            )
            status, text = await admin(service, "/v1/rules/reload", "POST")
            answer = json.loads(text)
            assert status == 422
            assert len(answer["problems"]) >= 2
            assert {"code", "severity", "file", "line", "column", "message", "help"} <= set(
                answer["problems"][0]
            )
            assert "^" in answer["text"]
            path.write_text(rules(6))
            status, text = await admin(service, "/v1/rules/reload", "POST")
            assert (status, json.loads(text)["changed"]) == (200, True)
            assert json.loads(text)["ruleset"] == dict(keeper_of(service).rulesets)
            assert served_value((await ask(service, infer([1.0]))).body) == 6

    run(scenario())


def test_a_request_in_flight_ends_on_the_set_it_began_with(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        go, arrived = asyncio.Event(), asyncio.Event()

        async def slow(_request: Recorded, writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await go.wait()
            writer.write(NEGATIVE)

        async with (
            RecorderUpstream(slow) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            old = keeper_of(service).rulesets["demand"]
            waiting = asyncio.create_task(ask(service, infer([1.0])))
            await arrived.wait()
            (tmp_path / "a.guard.yaml").write_text(rules(6))
            assert (await keeper_of(service).reload()).changed
            go.set()
            first, second = await waiting, await ask(service, infer([1.0]))
            assert (served_value(first.body), said(first, b"Ruleset")) == (5, old)
            assert served_value(second.body) == 6
            found = service.plane.routes[0].journal.find(said(first, b"Decision") or "")
            assert found is not None
            assert found["ruleset"] == old

    run(scenario())


FAILING = """\
tests:
  - name: a negative demand is replaced by seven
    given: {features: {x: 1}, output: {demand: -3}}
    expect: {outcome: replaced, value: {demand: 7}}
"""


def test_a_set_whose_own_tests_fail_is_refused_with_both_sides(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            (tmp_path / "a.guard.yaml").write_text(rules(6, more=FAILING))
            report = await keeper_of(service).reload()
            problem = report.problems[0]
            assert (report.ok, problem.code, problem.line) == (False, "E330", 10)
            assert "expected 7" in problem.message
            assert "got 6" in problem.message
            assert served_value((await ask(service, infer([1.0]))).body) == 5
            (tmp_path / "a.guard.yaml").write_text(rules(7, more=FAILING))
            assert (await keeper_of(service).reload()).ok

    run(scenario())


def test_where_tests_are_not_asked_for_a_set_is_served_without_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(6, more=FAILING))
        config = Config(reload_every_s=3600.0, reload_tests=False)
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=config) as service,
        ):
            assert served_value((await ask(service, infer([1.0]))).body) == 6

    run(scenario())


def test_tests_that_take_too_long_are_a_problem_at_the_test_that_was_next() -> None:
    ruleset = load_rulesets({"a.guard.yaml": rules(7, more=FAILING)})[0]["demand"]
    hours = iter(range(0, 10_000, 3_600))
    (problem,) = failing_tests({"demand": ruleset}, {}, lambda: float(next(hours)), 5.0)
    assert (problem.code, problem.file, problem.line) == ("E330", "a.guard.yaml", 10)
    assert "not through after 5 s" in problem.message


@pytest.mark.parametrize("gone", ["file", "directory"])
def test_files_that_are_gone_are_no_reason_to_run_without_rules(tmp_path: Path, gone: str) -> None:
    async def scenario() -> None:
        folder = tmp_path / "rules"
        folder.mkdir()
        (folder / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=folder, config=QUICK) as service,
        ):
            if gone == "file":
                (folder / "a.guard.yaml").unlink()
            else:
                shutil.rmtree(folder)
            await until(lambda: not keeper_of(service).ok, "the loss is seen")
            assert served_value((await ask(service, infer([1.0]))).body) == 5
            assert keeper_of(service).problems

    run(scenario())


def config_map(mount: Path, version: str, text: str) -> None:
    """Write a ConfigMap volume as a kubelet does: a new hidden directory, then one rename of the link `..data`."""
    (mount / f"..{version}").mkdir(parents=True)
    (mount / f"..{version}" / "a.guard.yaml").write_text(text)
    (mount / "..data_tmp").symlink_to(f"..{version}")
    (mount / "..data_tmp").rename(mount / "..data")
    if not (mount / "a.guard.yaml").is_symlink():
        (mount / "a.guard.yaml").symlink_to("..data/a.guard.yaml")


def test_a_config_map_that_is_swapped_is_read_once_and_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        config_map(tmp_path, "2026_01_01", rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=QUICK) as service,
        ):
            config_map(tmp_path, "2026_01_02", rules(6))
            await until(lambda: keeper_of(service).results["changed"], "the swap is seen")
            shutil.rmtree(tmp_path / "..2026_01_01")
            assert served_value((await ask(service, infer([1.0]))).body) == 6
            assert keeper_of(service).ok

    run(scenario())


HOSTILE = {
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)),
    "brackets": "[" * 200_000,
    "large": "# " + "x" * (10 * 1024 * 1024),
    "binary": "\x00\x01\x02",
    "tag": "!!python/object/apply:os.system [id]\n",
    "digits": rules(5).replace("min: 0", "min: " + "9" * 5_000),
    "other": "apiVersion: v1\nkind: ConfigMap\n",
    "empty": "",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_a_sentence_and_the_old_set_serves_on(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            (tmp_path / "b.guard.yaml").write_text(HOSTILE[kind])
            report = await keeper_of(service).reload()
            assert not report.ok
            assert report.problems[0].file.endswith("b.guard.yaml")
            assert len(report.text) < 200_000
            assert served_value((await ask(service, infer([1.0]))).body) == 5

    run(scenario())


def test_breaker_windows_and_history_survive_a_swap(tmp_path: Path) -> None:
    async def scenario() -> None:
        looks_back = rules(5).replace("[{value: 5}]", "[previous, {value: 5}]")
        (tmp_path / "a.guard.yaml").write_text(looks_back)
        answers = iter([40.0, -1.0])

        async def answer(_request: Recorded, writer: asyncio.StreamWriter) -> None:
            writer.write(ok(demand([next(answers)]), JSON))

        async with (
            RecorderUpstream(answer) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            await ask(service, infer([1.0]))
            (tmp_path / "a.guard.yaml").write_text(looks_back.replace("min: 0", "min: 1"))
            assert (await keeper_of(service).reload()).changed
            second = await ask(service, infer([1.0]))
            assert served_value(second.body) == 40
            windows = json.loads((await admin(service, "/v1/windows"))[1])
            assert windows["models"][0]["rows"] == 2

    run(scenario())


async def _keep_asking(service: Service, stop: asyncio.Event, seen: Counter[tuple[str, float]]) -> None:
    """Ask over one connection until told to stop; count which set answered and which set its answer shows."""
    client = await RawClient.connect(port_of(service))
    while not stop.is_set():
        response = await client.exchange(request(infer([1.0])), b"POST")
        assert response.status == 200
        names = response.all(b"Guardproxy-Ruleset")
        assert len(names) == 1
        seen[names[0].decode(), served_value(response.body)] += 1
    await client.close()


@pytest.mark.timeout(180)
def test_reloads_under_load_fail_no_request_and_each_answer_comes_from_one_set(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "a.guard.yaml"
        path.write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            keeper, stop = keeper_of(service), asyncio.Event()
            values = {keeper.rulesets["demand"]: 5.0}
            seen: Counter[tuple[str, float]] = Counter()
            async with asyncio.TaskGroup() as clients:
                for _ in range(4):
                    clients.create_task(_keep_asking(service, stop, seen))
                for turn in range(60):
                    broken = turn % 3 == 2
                    path.write_text("rules: [" if broken else rules(turn))
                    report = await keeper.reload()
                    assert report.ok is not broken
                    values.setdefault(report.rulesets["demand"], float(turn))
                stop.set()
            assert keeper.results == {"changed": 40, "failed": 20}
            assert len({fingerprint for fingerprint, _ in seen}) > 5
            assert all(values[fingerprint] == value for fingerprint, value in seen)

    run(scenario())


def test_a_change_between_reading_the_files_and_the_start_is_seen(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with RecorderUpstream(NEGATIVE) as upstream:

            def meanwhile() -> float:
                # The first to ask for the time does so after the files were read, and before anything serves.
                if not changed:
                    (tmp_path / "a.guard.yaml").write_text(rules(6))
                    changed.append(True)
                return time.time()

            changed: list[bool] = []
            async with serving(upstream.port, folder=tmp_path, config=QUICK, clock=meanwhile) as service:
                await until(lambda: keeper_of(service).results["changed"], "the change is read")
                assert served_value((await ask(service, infer([1.0]))).body) == 6

    run(scenario())


def test_a_fault_of_ours_while_files_are_read_is_a_refusal_that_everybody_hears_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):

            def fail(*_: object) -> None:
                raise RecursionError

            with monkeypatch.context() as patched:
                patched.setattr("guardproxy.proxy.reload.load_rules", fail)
                (tmp_path / "a.guard.yaml").write_text(rules(6))
                status, body = await admin(service, "/v1/rules/reload", "POST")
                assert (status, json.loads(body)["problems"][0]["message"]) == (
                    422,
                    "guardproxy itself failed on these files (RecursionError)",
                )
                assert (keeper_of(service).ok, keeper_of(service).results["failed"]) == (False, 1)
                assert served_value((await ask(service, infer([1.0]))).body) == 5
            assert (await admin(service, "/v1/rules/reload", "POST"))[0] == 200
            assert served_value((await ask(service, infer([1.0]))).body) == 6

    run(scenario())


def test_problems_of_huge_files_are_drawn_beside_the_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            threads: list[int] = []
            taken: list[str] = []

            def draw(problems: Iterable[Problem], texts: Mapping[str, str]) -> Iterator[str]:
                threads.append(threading.get_ident())
                return render_all(problems, texts)

            monkeypatch.setattr("guardproxy.proxy.reload.render_all", draw)

            def take(text: str) -> list[str]:
                taken.append(text)
                return lines_of(text)

            monkeypatch.setattr("guardproxy.source.drawing.lines_of", take)
            (tmp_path / "a.guard.yaml").write_text(
                rules(6) + "  - {id: a, rnage: 1}\n" * 20 + "#\n" * 100_000
            )
            report = await keeper_of(service).reload()
            assert len(report.problems) > 20
            assert threads
            assert threading.get_ident() not in threads
            assert len(taken) == 1, "a text is taken into lines once, not once for each problem"

    run(scenario())


def test_a_thousand_broken_files_are_a_bounded_answer_that_says_how_many_there_are(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            for number in range(30):
                broken = (
                    f"guardproxy: 1\nmodel: m{number}\nowner: o\nrules:\n" + "  - {id: a, rnage: 1}\n" * 100
                )
                (tmp_path / f"b{number}.guard.yaml").write_text(broken)
            status, body = await admin(service, "/v1/rules/reload", "POST")
            said = json.loads(body)
            assert (status, len(said["problems"])) == (422, MAX_TOLD)
            assert said["problems_total"] > MAX_TOLD

    run(scenario())


def test_reloads_that_come_together_are_carried_out_one_after_the_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            (tmp_path / "a.guard.yaml").write_text(rules(6))
            reports = await asyncio.gather(*(keeper_of(service).reload() for _ in range(5)))
            assert [report.changed for report in reports] == [True, False, False, False, False]

    run(scenario())


def test_every_finding_names_the_revision_of_its_rule(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "a.guard.yaml").write_text(rules(5))
        async with (
            RecorderUpstream(NEGATIVE) as upstream,
            serving(upstream.port, folder=tmp_path, config=STILL) as service,
        ):
            response = await ask(service, infer([1.0]))
            decision = json.loads((await admin(service, f"/v1/decisions/{said(response, b'Decision')}"))[1])
            listed: dict[str, Any] = {
                rule["rule"]: rule["rev"]
                for rule in json.loads((await admin(service, "/v1/rules"))[1])["rules"]
            }
            assert re.fullmatch(r"[0-9a-f]{12}", listed["not-negative"])
            assert decision["findings"][0]["rev"] == listed["not-negative"]

    run(scenario())
