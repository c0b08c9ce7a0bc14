"""From a client's batch to a person's final decision: the real server process, real HTTP, a real browser, the real CLI."""

import asyncio
import http.client
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.cli.process import FREE, JSON_TYPE, Serving, get, serving
from tests.cli.run import Done, child
from tests.harness.loop import PATIENCE_S, run
from tests.harness.upstream import RecorderUpstream, ok
from tests.proxy.serving import PATH, demand, infer

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]

RULES = """\
guardproxy: 1
model: demand
owner: ops
rules:
  - id: too-much
    severity: high
    why: More than was ever sold.
    require: output.demand < 1000
    action: hold
    hold: {meanwhile: fallback, sla: 4h, on_expiry: fallback}
    fallback: [{value: 7}]
    message: "{output.demand:.0f} is more than was ever sold"
  - id: hurried
    forbid: output.demand == 888
    action: hold
    hold: {meanwhile: fallback, sla: 1s, on_expiry: fallback}
    fallback: [{value: 9}]
"""

CONFIG = """\
admin: {{tokens_file: tokens.yaml}}
store: sqlite:///holds.db
upstream: http://127.0.0.1:{port}
rules: a.guard.yaml
holds: {{undo: {undo}}}
routes: [{{path: {path}, model: demand, on_failure: closed, key: [store]}}]
"""


def browse(work: Callable[[Page], None]) -> None:
    """Do something in Chromium with scripts off; where there is none, skip, and on a CI machine fail."""
    if not Path(CHROMIUM).exists():
        sentence = f"there is no Chromium at {CHROMIUM}; set CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context(java_script_enabled=False).new_page()
        page.set_default_timeout(15_000)
        work(page)
        browser.close()


class Company:
    """Everything around one installation: its folder, its reviewer's token, its command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = child("token", "new", "--name", "reviewer-a", "--role", "operator", folder=folder)
        assert made.code == 0
        (folder / "tokens.yaml").write_text(made.out)
        self.token = made.err.split("token: ")[1].split("\n")[0]
        (folder / "token").write_text(self.token)
        (folder / "a.guard.yaml").write_text(RULES)

    def configure(self, port: int, undo: str) -> None:
        (self.folder / "guardproxy.yaml").write_text(CONFIG.format(port=port, undo=undo, path=PATH))

    async def cli(self, server: Serving, *arguments: str) -> Done:
        more = ("--admin", server.admin, "--token-file", "token")
        return await asyncio.to_thread(child, "holds", *arguments, *more, folder=self.folder)

    async def hold(self, server: Serving, hold_id: str) -> dict[str, Any]:
        return json.loads(await get(f"{server.admin}/v1/holds/{hold_id}", self.token))  # type: ignore[no-any-return]

    async def settled(self, server: Serving, hold_id: str, state: str) -> dict[str, Any]:
        """Wait until a hold has that state."""
        async with asyncio.timeout(PATIENCE_S):
            while (hold := await self.hold(server, hold_id))["state"] != state:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        return hold


def text_of(body: bytes) -> list[float]:
    return json.loads(body)["outputs"][0]["data"]  # type: ignore[no-any-return]


def test_a_held_row_is_decided_in_the_browser_and_read_back_as_final(tmp_path: Path) -> None:
    company = Company(tmp_path)
    model_says = [4.0, 5000.0, 6.0]

    async def scenario() -> None:
        async with RecorderUpstream(ok(demand(model_says), JSON_TYPE)) as upstream:
            company.configure(upstream.port, "10m")
            async with serving(tmp_path, *FREE) as server:
                assert company.token not in server.said
                reply = await server.ask(infer([1.0, 2.0, 3.0]))
                assert reply.status == 200
                assert reply.get(b"Guardproxy-Outcome") == b"held"
                assert reply.get(b"Guardproxy-Rows") == b"allowed=2, held=1"
                assert reply.get(b"Guardproxy-Held-Rows") == b"1"
                # Only the held row's text differs from what the model said.
                assert text_of(reply.body) == [4.0, 7.0, 6.0]
                assert reply.body.replace(b"7.0", b"5000.0").replace(b"7 ", b"5000.0 ") == demand(model_says)
                hold_id = (reply.get(b"Guardproxy-Hold") or b"").decode()
                await asyncio.to_thread(browse, lambda page: approve_and_undo(page, server, company, hold_id))
                assert (await company.hold(server, hold_id))["state"] == "open"
                assert hold_id in (await company.cli(server, "list")).out
                assert await server.end() == 0
            # A restart forgets nothing; now a decision cannot be taken back.
            company.configure(upstream.port, "0s")
            async with serving(tmp_path, *FREE) as server:
                await asyncio.to_thread(browse, lambda page: override(page, server, company, hold_id))
                final = await company.settled(server, hold_id, "overridden")
                assert final["output"]["final"] == {"demand": 130}
                assert (final["by"], final["reason"], final["note"]) == (
                    "reviewer-a",
                    "model_wrong",
                    "public holiday",
                )
                shown = await company.cli(server, "show", hold_id)
                assert "final        demand=130 (override)" in shown.out
                assert "overridden by reviewer-a" in shown.out
                late = await company.cli(server, "reject", hold_id)
                assert late.code == 1
                assert (await company.cli(server, "list")).out == "No holds are open.\n"
                events = json.loads(await get(f"{server.admin}/v1/holds/{hold_id}/events", company.token))[
                    "events"
                ]
                assert [event["event"] for event in events][:4] == ["create", "approve", "undo", "override"]
                await asyncio.to_thread(browse, lambda page: read_final(page, server, company, hold_id))

    run(scenario())


def approve_and_undo(page: Page, server: Serving, company: Company, hold_id: str) -> None:
    page.goto(f"{server.admin}/?token=wrong")
    assert "not valid" in page.inner_text("main")
    page.goto(f"{server.admin}/?token={company.token}")
    assert page.url == f"{server.admin}/", "the token does not stay in the address"
    page.locator(".item a").first.click()
    assert page.url == f"{server.admin}/holds/{hold_id}"
    assert "5000 is more than was ever sold" in page.inner_text(".why")
    page.locator("#approve button").click()
    assert "Approved by reviewer-a." in page.inner_text(".banner")
    page.get_by_role("button", name="Undo").click()
    assert page.locator("#approve button").count() == 1


def override(page: Page, server: Serving, company: Company, hold_id: str) -> None:
    page.goto(f"{server.admin}/holds/{hold_id}?token={company.token}")
    form = page.locator("#override")
    assert form.get_by_label("demand").input_value() == "7"
    form.get_by_label("demand").fill("5000")
    form.get_by_label("Reason").select_option("model_wrong")
    form.get_by_label("Note").fill("public holiday")
    form.get_by_role("button").click()
    assert "too-much" in page.inner_text(".alert"), "an enforced rule has a say in an override"
    form = page.locator("#override")
    form.get_by_label("demand").fill("130")
    form.get_by_role("button").click()
    assert "Overridden by reviewer-a" in page.inner_text(".banner")


def read_final(page: Page, server: Serving, company: Company, hold_id: str) -> None:
    page.goto(f"{server.admin}/?view=decided&token={company.token}")
    assert page.locator(".item").count() == 1
    page.locator(".item a").first.click()
    assert "130" in page.inner_text("main")
    assert "public holiday" in page.inner_text(".history")
    assert page.locator("form.way").count() == 0


def test_a_hold_that_nobody_decides_expires_to_its_fallback(tmp_path: Path) -> None:
    company = Company(tmp_path)

    async def scenario() -> None:
        async with RecorderUpstream(ok(demand([888.0]), JSON_TYPE)) as upstream:
            company.configure(upstream.port, "10m")
            async with serving(tmp_path, *FREE) as server:
                reply = await server.ask(infer([1.0]))
                assert text_of(reply.body) == [9.0]
                hold_id = (reply.get(b"Guardproxy-Hold") or b"").decode()
                expired = await company.settled(server, hold_id, "expired")
                assert expired["output"]["final"] == {"demand": 9}
                late = await company.cli(server, "approve", hold_id)
                assert late.code == 1
                assert "expired" in late.err
                assert hold_id in (await company.cli(server, "list", "--state", "expired")).out
                metrics = (await get(f"{server.admin}/metrics")).decode()
                assert "guardproxy_holds_stored_total 1.0" in metrics

    run(scenario())


def test_without_the_token_nothing_is_seen(tmp_path: Path) -> None:
    company = Company(tmp_path)

    async def scenario() -> None:
        company.configure(9, "8s")
        async with serving(tmp_path, *FREE) as server:
            for path in (
                "/",
                "/v1/holds",
                "/v1/rules",
                "/v1/windows",
                "/v1/holds/x",
                "/v1/decisions/x",
                "/rules",
            ):
                status, body = await asyncio.to_thread(fetch, server.admin, path)
                assert status in {303, 401}, path
                assert b"too-much" not in body, path
            for path in ("/livez", "/readyz", "/metrics", "/v1/openapi.json"):
                assert (await asyncio.to_thread(fetch, server.admin, path))[0] == 200, path

    run(scenario())


def fetch(base: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
