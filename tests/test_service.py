"""The whole process: it refuses to start on bad input, answers for its health, and drains."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from guardproxy.service import Service
from tests.harness.client import RawClient
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok
from tests.proxy.serving import ask, demand, infer, port_of, request, serving

BROKEN = """\
upstream: http://127.0.0.1:9
listne: 127.0.0.1:0
rules: bad.guard.yaml
routes: [{path: /a, model: m, on_failure: open, profile: bad.profile.yaml}]
"""


def serve(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "guardproxy", "serve", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_problem_of_every_file_is_printed_at_once_and_the_server_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "guardproxy.yaml").write_text(BROKEN)
    (tmp_path / "bad.guard.yaml").write_text(
        "guardproxy: 1\nmodel: m\nrules:\n  - {id: a, requier: output.x > 1}\n  - {id: b, require: '1 +'}\n"
    )
    (tmp_path / "bad.profile.yaml").write_text("nonsense: true\n")
    done = serve(tmp_path)
    assert done.returncode == 2
    assert "listens on" not in done.stderr
    for part in (
        "guardproxy.yaml:2:1",
        "did you mean 'listen'?",
        "bad.guard.yaml:4",
        "'require'",
        "bad.guard.yaml:5",
        "bad.profile.yaml:1",
    ):
        assert part in done.stderr, part
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "guardproxy.db").exists()


def test_serve_alone_asks_what_to_stand_in_front_of(tmp_path: Path) -> None:
    done = serve(tmp_path)
    assert done.returncode == 2
    assert "--upstream" in done.stderr


def test_an_address_in_use_is_one_sentence(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RecorderUpstream() as upstream:
            done = await asyncio.to_thread(
                serve,
                tmp_path,
                "--upstream",
                "http://127.0.0.1:9",
                "--listen",
                f"127.0.0.1:{upstream.port}",
                "--admin",
                "127.0.0.1:0",
            )
            assert done.returncode == 2
            assert "cannot listen" in done.stderr
            assert "Traceback" not in done.stderr

    run(scenario())


def test_a_store_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"this is no database, it is a letter" * 100)
    done = serve(
        tmp_path,
        "--upstream",
        "http://127.0.0.1:9",
        "--store",
        "sqlite:///a.db",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    )
    assert done.returncode == 2
    assert "a.db" in done.stderr
    assert "Traceback" not in done.stderr


async def _get(service: Service, path: str) -> tuple[int, str]:
    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{service.admin_port}{path}", timeout=10
            ) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


def test_health_metrics_windows_and_decisions_tell_what_happened() -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(demand([-1.0]), b"Content-Type: application/json")) as upstream,
            serving(upstream.port) as service,
        ):
            response = await ask(service, infer([1.0]))
            decision_id = (response.get(b"Guardproxy-Decision") or b"").decode()
            assert (await _get(service, "/livez"))[0] == 200
            assert (await _get(service, "/readyz"))[0] == 200
            metrics = (await _get(service, "/metrics"))[1]
            assert 'guardproxy_rows_total{model="demand",outcome="replaced"} 1.0' in metrics
            assert (
                'guardproxy_verdicts_total{model="demand",rule="not-negative",verdict="violated"} 1.0'
                in metrics
            )
            assert "guardproxy_guard_seconds_count" in metrics
            windows = json.loads((await _get(service, "/v1/windows"))[1])
            assert windows["models"][0]["outcomes"] == {"replaced": 1}
            status, text = await _get(service, f"/v1/decisions/{decision_id}")
            assert status == 200
            decision = json.loads(text)
            assert decision["findings"][0]["rule"] == "not-negative"
            assert decision["replaced"] == [{"row": 0, "source": "value", "values": {"demand": 5}}]

    run(scenario())


@pytest.mark.parametrize("wait", [True, False])
def test_a_drain_ends_what_is_in_flight_before_the_process_does(wait: bool) -> None:
    async def scenario() -> None:
        go, arrived = asyncio.Event(), asyncio.Event()

        async def slow(_request: Recorded, writer: asyncio.StreamWriter) -> None:
            arrived.set()
            if wait:
                await go.wait()
            writer.write(ok(demand([1.0]), b"Content-Type: application/json"))

        async with RecorderUpstream(slow) as upstream:
            manager = serving(upstream.port)
            service = await manager.__aenter__()
            client = await RawClient.connect(port_of(service))
            await client.send(request(infer([1.0])))
            await arrived.wait()
            stopping = asyncio.create_task(manager.__aexit__(None, None, None))
            await until(lambda: service.plane.draining, "the service drains")
            assert service.ready() == (False, ["draining"])
            go.set()
            response = await client.response(b"POST")
            assert response.status == 200
            assert response.get(b"Connection") == b"close" or not wait
            await stopping

    run(scenario())
